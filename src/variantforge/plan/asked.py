"""What teachers will be asked, before anything runs: counted where the prompts are, else said to be unknown.

Prompts that were read already are counted as the step will count them, with the answers that are kept. Of files that
were not, the rows are counted: no more prompts than these. Streams, archives and Parquet are not opened for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.plan.estimate.bases import Found
from variantforge.plan.plan import Plan
from variantforge.stages.data.sources import open_table
from variantforge.stages.data.streams import suffix_of
from variantforge.stages.data.teacher.asking import Asking, asking_of
from variantforge.stages.data.teacher.kept import Kept, answer_files
from variantforge.stages.data.teacher.planning import METHOD, PROMPTS, identity_of, section_of
from variantforge.stages.data.teacher.questions import questions, read_prompts
from variantforge.stages.rows import HELDOUT, TRAIN
from variantforge.step import Artifact, Step

READ_AT_MOST = 10 << 20  # bytes of prompts, and of answers: a second
_COUNTED = (".jsonl", ".json", ".csv")
_LATER = "known once they are read"


def askings(plan: Plan, keys: Iterable[str], store: Found) -> dict[str, Asking]:
    """Key -> what is asked, of those among ``keys`` in which a teacher writes."""
    steps = [plan.steps[key] for key in keys]
    return {step.key: _asking(plan, step, store) for step in steps if is_teachers(step)}


def is_teachers(step: Step) -> bool:
    return step.stage == "data" and step.method == METHOD


def _asking(plan: Plan, step: Step, store: Found) -> Asking:
    prompts = plan.steps[step.inputs[PROMPTS]]
    artifact = store.find(prompts)
    if artifact and _size(artifact) <= READ_AT_MOST:
        return _exactly(step, artifact, store)
    count, why = _read_before(artifact) if artifact else _rows(plan, prompts, store)
    limit = section_of(step).limit
    if limit is not None and (count is None or count > limit):
        count = limit
    return asking_of(step, count, exact=False, why=why)


def _exactly(step: Step, prompts: Artifact, store: Found) -> Asking:
    """As the step itself counts."""
    section, identity = section_of(step), identity_of(step)
    try:
        asked = read_prompts(prompts.path, section).prompts
    except VariantforgeError as error:
        return asking_of(step, None, why=error.what)
    files = answer_files(store.root / "scratch" / step.key, identity)
    if sum(file.stat().st_size for file in files if file.is_file()) > READ_AT_MOST:
        return asking_of(step, len(asked), exact=False, why="those kept are too many to be looked up now")
    kept = Kept(files)
    there = sum(kept.get(one.key) is not None for prompt in asked for one in questions(prompt, section, identity))
    return asking_of(step, len(asked), kept=there)


def _size(prompts: Artifact) -> int:
    return sum((prompts.path / name).stat().st_size for name in (TRAIN, HELDOUT))


def _read_before(prompts: Artifact) -> tuple[int, str]:
    return int(prompts.facts["train"]) + int(prompts.facts["heldout"]), "equal prompts are asked once"


def _rows(plan: Plan, step: Step, store: Found) -> tuple[int | None, str]:
    """How many rows a step that was not done yet will have at most, None where that is not to be told; and why so."""
    if is_teachers(step):
        return _asking(plan, step, store).answers, "another teacher writes them first"
    section, pin = step.params["dataset"], step.pins.get("data")
    if pin is None:
        return section.get("limit"), f"they are mined from code, {_LATER}"
    if pin.at.startswith("hub:"):
        return section.get("limit"), f"they are streamed from the Hub, {_LATER}"
    if "://" in pin.at:
        return section.get("limit"), f"they are downloaded first, {_LATER}"
    count = _counted(Path(pin.at), step.hints.get("files", {}).get("data", []))
    if count is None:
        return section.get("limit"), f"{section['path']} is counted when it is read"
    return min(count, section.get("limit") or count), "equal prompts are asked once"


def _counted(at: Path, names: list[Any]) -> int | None:
    """Rows of files of this machine, None where only reading them for good will tell."""
    files = [at] if at.is_file() else [at / name for name in names]
    try:
        if not all(suffix_of(file.name) in _COUNTED and file.suffix.lower() in _COUNTED for file in files):
            return None
        if sum(file.stat().st_size for file in files) > READ_AT_MOST:
            return None
        return sum(1 for file in files for _ in open_table(file, file.name).records)
    except (VariantforgeError, OSError):  # the step itself tells what is wrong
        return None
