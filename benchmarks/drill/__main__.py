"""``python -m benchmarks.drill``: see the package."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from math import inf
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description="Releases, disturbed in every way.")
    parser.add_argument(
        "--tiny", action="store_true", help="the story with models of two layers: no training to speak of"
    )
    parser.add_argument("--part", choices=["story", "faults"], help="only this part")
    parser.add_argument("--sample", action="store_true", help="every request by three faults, every third kill")
    parser.add_argument(
        "--seed", type=int, default=2026, help="of the pairs of faults, and of the order (default: 2026)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a hub of its own (default: 2)")
    parser.add_argument("--minutes", type=float, default=inf, help="of the faults, in a drawn order, as many as fit")
    parser.add_argument("--write-docs", action="store_true", help="write the tables of docs/reliability.md, too")
    wish = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    good = [part(wish) for name, part in (("story", story), ("faults", faults)) if wish.part in (None, name)]
    if wish.write_docs:
        from benchmarks.drill.report import write_docs

        write_docs()
    return 0 if all(good) else 1


def story(wish: argparse.Namespace) -> bool:
    from benchmarks.drill.families import Quickstart, Tiny
    from benchmarks.drill.report import ACT_HEADER, act_line, save, story_figures
    from benchmarks.drill.story import Act, play

    def tell(act: Act) -> None:
        print(act_line(act), flush=True)
        for problem in act.problems:
            print(f"        {problem}", flush=True)

    family = Tiny() if wish.tiny else Quickstart()
    print(f"the story of the {family.name} family\n{ACT_HEADER}", flush=True)
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        acts = play(family, Path(folder) / "story", tell)
    save("story", story_figures(family.name, acts))
    return not any(act.problems for act in acts)


def faults(wish: argparse.Namespace) -> bool:
    from benchmarks.drill.faults import SAMPLE, Size, run
    from benchmarks.drill.report import fault_figures, fault_lines, save

    print(f"faults, kills and races; seed {wish.seed}", flush=True)
    told = run(
        SAMPLE if wish.sample else Size(),
        wish.seed,
        workers=wish.workers,
        minutes=wish.minutes,
        tell=lambda text: print(text, flush=True),
    )
    found = fault_figures(told)
    print("\n".join(fault_lines(found)), flush=True)
    save("faults", found)
    return not told.problems


if __name__ == "__main__":
    sys.exit(main())
