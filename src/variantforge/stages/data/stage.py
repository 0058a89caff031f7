"""Data: the rows of each dataset that some variant uses, and for each variant the mix that it trains on.

Planned as ``rows`` (one step a dataset, shared by variants) and ``mix`` (one step a variant).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter

from variantforge.errors import DataError
from variantforge.refs import Ref
from variantforge.spec.family import (
    DatasetSpec,
    DeduplicateSpec,
    PythonSourceDataset,
    RowsDataset,
    TeacherDataset,
    VariantSpec,
)
from variantforge.stages.data import clean, mix
from variantforge.stages.data.mixing import plan_mix
from variantforge.stages.data.pinning import Pinned, digest_of, pin_python, pin_rows
from variantforge.stages.data.python_source import Mining
from variantforge.stages.data.reading import Reading
from variantforge.stages.data.teacher.planning import METHOD, plan_teacher
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Pin, Step, StepContext

DEFAULT_FRACTION = 0.05
UNCLEAN = ("on_secrets", "on_broken_unicode")  # keys of the policy about what a dataset's own rows hold
FOREIGN = ("hub:", "https://", "http://")  # where bytes lie that cannot change under their pin


class DataStage:
    name = "data"
    version = 2  # since 2: preferences, labels, prompts and tools are recognised where they were passed over
    heavy = False
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        plan_mix(desk, name, variant, lambda dataset: self._rows(desk, dataset), self.version)
        for dataset in variant.calibration.datasets if variant.calibration else ():
            self._rows(desk, dataset)

    def _rows(self, desk: Desk, dataset: str) -> Step | None:
        place = Place("data", None, dataset)
        section = desk.family.datasets.get(dataset)
        if section is None:
            return None  # that it is nowhere was told when the file was read
        if step := desk.step(place):
            return step
        fraction = heldout_fraction(desk)
        policy = desk.family.data_policy
        shared = {
            "on_bad_row": policy.on_bad_row,
            "fraction": fraction,
            **({} if policy.deduplicate.exact else {"deduplicate": {"exact": False}}),
            **{key: value for key, value in policy.identity().items() if key in UNCLEAN},
        }
        if isinstance(section, TeacherDataset):
            told = plan_teacher(desk, dataset, section, lambda other: self._rows(desk, other), shared, self.version)
            return desk.add(place, told) if told and fraction is not None else None
        pinned = _pinned(desk, dataset, section)
        if pinned is None or fraction is None:
            return None
        params = {"name": dataset, "dataset": section.identity(), **shared}
        step = Step("data", self.version, "rows", params, pins=pinned.pins, hints={"files": pinned.files})
        return desk.add(place, step)

    def do(self, context: StepContext) -> None:
        if context.step.method == "mix":
            mix.mix(context)
        elif context.step.method == METHOD:
            from variantforge.stages.data.teacher.writing import write_answers

            write_answers(context)
        else:
            _do_rows(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _pinned(desk: Desk, name: str, section: RowsDataset | PythonSourceDataset) -> Pinned | None:
    try:
        if isinstance(section, PythonSourceDataset):
            return pin_python(desk, name, section)
        return pin_rows(desk, name, section)
    except OSError as error:  # a folder that may not be listed
        desk.problem(f"datasets.{name}", f"{error.filename} cannot be read: {error.strerror}")
        return None


def heldout_fraction(desk: Desk) -> float | None:
    """The share of rows kept from training, as the perplexity evaluations ask; 0 without one; None after a problem."""
    fractions = {
        name: section.params.get("fraction", DEFAULT_FRACTION)
        for name, section in desk.family.evaluate.items()
        if section.evaluator == "perplexity"
    }
    for name, fraction in fractions.items():
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            desk.problem(f"evaluate.{name}.fraction", "a share of the rows: a number above 0 and below 1")
            return None
    if len(set(fractions.values())) > 1:
        last = list(fractions)[-1]
        told = ", ".join(f"{name}: {fraction}" for name, fraction in fractions.items())
        desk.problem(f"evaluate.{last}.fraction", f"rows are held out once, so one fraction for all; given: {told}")
        return None
    return float(next(iter(fractions.values()), 0.0))


def _prove_unchanged(step: Step, files: Mapping[str, list[str]]) -> None:
    """The rows must come from the bytes that the key stands for, not from an edit made since the plan was laid out."""
    for role, pin in step.pins.items():
        if not pin.at.startswith(FOREIGN) and digest_of(pin, files.get(role, [])) != pin.digest:
            raise DataError(
                f"the files of dataset '{step.params['name']}' were changed while they were read",
                next="run the same command again: it plans with the files as they are now",
            )


def _on_disk(context: StepContext, section: RowsDataset) -> Pin:
    """The dataset's pin, of bytes that can be read now: a file of the web is downloaded."""
    pin = context.step.pins["data"]
    if Ref.parse(section.path).kind != "url":
        return pin
    from variantforge.stages.data.download import Wanted, download

    wanted = Wanted(section.path, pin.digest, f"datasets.{context.step.params['name']}")
    return Pin(pin.digest, str(download(context, wanted)))


def _do_rows(context: StepContext) -> None:
    step = context.step
    name, files = step.params["name"], step.hints.get("files", {})
    section: DatasetSpec = TypeAdapter(DatasetSpec).validate_python(step.params["dataset"])
    assert not isinstance(section, TeacherDataset)
    rows: Mining | Reading
    if isinstance(section, PythonSourceDataset):
        rows = Mining(section, step.pins, files)
    else:
        rows = Reading(name, section, _on_disk(context, section), files.get("data", []))
    rules = clean.Rules(
        name,
        fraction=step.params["fraction"],
        deduplicate=DeduplicateSpec(**step.params.get("deduplicate", {})).exact,
        skip_bad=step.params["on_bad_row"] == "skip",
        limit=section.limit,
        unclean={key: step.params[key] for key in UNCLEAN if key in step.params},
    )
    tally = clean.sift(context, rows, rules)
    _prove_unchanged(step, files)
    for note in rows.notes if isinstance(rows, Reading) else ():
        context.note(note)
    context.write_facts({**tally.facts, **rows.facts, "fraction": rules.fraction})


STAGE = DataStage()
