"""What a step is called stays what it is: else everything that people have made so far would be made again.

Foreign bytes are pinned to made-up digests here, so that the keys below depend on the plan alone. A key may change when
a stage's version, or what a card says, was changed *on purpose*: then write the files anew (pytest --update-golden).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from variantforge import Resolver, build_plan, load_family
from variantforge.hashing import text_digest
from variantforge.plan.pin import RepoType
from variantforge.refs import Ref
from variantforge.step import Pin

TESTS = Path(__file__).parents[1]
KEYS = TESTS / "golden" / "keys"


class MadeUp(Resolver):
    """Pins everything that is there to a digest of its ref, not of its bytes (which differ between machines)."""

    def pin(self, ref: Ref, repo_type: RepoType = "model") -> Pin:
        if ref.kind == "hub":
            return super().pin(ref, repo_type)
        return Pin(text_digest(Path(ref.name).name), super().pin(ref, repo_type).at)

    def pin_files(self, files: Iterable[Path]) -> Pin:
        return Pin("0" * 64, super().pin_files(files).at)


def keys_of(file: Path) -> str:
    plan = build_plan(load_family(file), MadeUp(hash_file=lambda path: "0" * 64))
    places = {"/".join((place.stage, place.variant or "-", place.name)): key for place, key in plan.places.items()}
    return json.dumps(places, indent=0, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", ["quickstart", "many"])
def test_the_steps_of_a_family_keep_their_keys(name: str, golden: Callable[[Path, str], None], tmp_path: Path) -> None:
    file = TESTS.parent / "specs" / "quickstart.yaml"
    if name == "many":
        (tmp_path / "rows.jsonl").write_text("{}\n")
        file = tmp_path / "family.yaml"
        file.write_text((KEYS / "many.yaml").read_text())
    golden(KEYS / f"{name}.json", keys_of(file))
