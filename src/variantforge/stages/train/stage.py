"""The train stage: one step for each variant; how it is done is the method's affair (a row of METHODS)."""

from __future__ import annotations

from importlib.util import find_spec

from variantforge.registry import near
from variantforge.spec.family import RowsDataset, VariantSpec
from variantforge.stages.data.formats import kind_of_format
from variantforge.stages.models import quiet
from variantforge.stages.stage import Desk, Place
from variantforge.stages.train import METHODS, Method
from variantforge.stages.train.config import split_tracking
from variantforge.step import Artifact, Step, StepContext

# What ``report_to`` takes: tracker -> the module that it needs. The same words as transformers'.
TRACKERS = {"trackio": "trackio", "wandb": "wandb", "tensorboard": "tensorboard", "mlflow": "mlflow"}


class TrainStage:
    name = "train"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        train = variant.train
        if train.method not in METHODS:
            desk.problem(f"{desk.at_key}.train.method", METHODS.unknown(train.method))
            return
        method = METHODS.load(train.method)()
        _tell_wrong_rows(desk, variant, method)
        args, tracking = split_tracking(train.args)
        _tell_missing_trackers(desk, tracking.get("report_to"))
        needs = method.needs(desk, name, variant)
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        data = desk.step(Place("data", name, "mix"))
        if not (base and data and needs):
            return
        params = {"adapter": train.adapter.identity(), "args": args, "recipe": method.version, **needs.params}
        if desk.family.data_policy.on_special_tokens == "keep":
            params["special_tokens"] = "keep"
        inputs = {"base": base.key, "data": data.key, **needs.inputs}
        hints = dict(variant.resources.model_dump(mode="json", exclude_none=True))
        if tracking:
            hints["tracking"] = {"run_name": f"{desk.family.family} {name}", **tracking}
        step = Step("train", self.version, train.method, params, inputs, pins=needs.pins, hints=hints)
        desk.add(Place("train", name), step)

    def do(self, context: StepContext) -> None:
        with quiet():
            METHODS.load(context.step.method)().train(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _tell_wrong_rows(desk: Desk, variant: VariantSpec, method: Method) -> None:
    """Where a dataset's format is declared, what it holds is known before anything is read."""
    for dataset in variant.data.sources:
        section = desk.family.datasets.get(dataset)
        kind = kind_of_format(section.format) if isinstance(section, RowsDataset) else "messages"
        if section is None or kind is None or kind in method.rows:
            continue
        told = f"'{dataset}' holds rows of the kind {kind}"
        wanted = f"{variant.train.method} learns from {' or '.join(method.rows)}"
        said = "epochs" if variant.data.epochs else "mix"
        desk.problem(f"{desk.at_key}.data.{said}.{dataset}", f"{told}; {wanted}")


def _tell_missing_trackers(desk: Desk, report_to: object) -> None:
    names, known = report_to if isinstance(report_to, list) else [report_to], f" Known: {', '.join(TRACKERS)}."
    for name in (str(name) for name in names if name not in (None, "none")):
        key = f"{desk.at_key}.train.args.report_to"
        if name not in TRACKERS:
            desk.problem(key, f"unknown tracker '{name}'.{near(name, list(TRACKERS)) or known}")
        elif find_spec(TRACKERS[name]) is None:
            desk.problem(key, f"the tracker '{name}' is not installed: pip install {TRACKERS[name]}")


STAGE = TrainStage()
