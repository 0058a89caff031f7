from __future__ import annotations

from typing import Any

import pytest

from tests.stages.base.desk import PlainDesk, family
from variantforge.spec.family import FamilySpec
from variantforge.stages import merge
from variantforge.stages.stage import Place
from variantforge.stages.train.stage import STAGE
from variantforge.step import Step


def planned(spec: FamilySpec, tmp_path: Any) -> PlainDesk:
    """Base and data steps stand already; train and merge are planned parents first, as ``build_plan`` does."""
    desk = PlainDesk(spec, tmp_path)
    for name, variant in spec.variants.items():
        desk.at_key = f"variants.{name}"
        desk.add(Place("base", name), Step("base", 1, "folder"))
        desk.add(Place("data", name, "mix"), Step("data", 1, "mix", params=dict(variant.data.mix)))
        for stage in (STAGE, merge.STAGE):
            stage.plan(desk, name, variant)
    return desk


def key(tmp_path: Any, **train: Any) -> str:
    return planned(family("./b", {"v": {"train": train}}), tmp_path).steps[Place("train", "v")].key


def test_a_child_trains_and_merges_on_its_parents_merged_weights(tmp_path: Any) -> None:
    steps = planned(family("./b", {"parent": {}, "child": {"from": "parent"}}), tmp_path).steps
    parent = steps[Place("merge", "parent")].key
    assert steps[Place("train", "child")].inputs["base"] == parent
    assert steps[Place("merge", "child")].inputs["base"] == parent
    assert steps[Place("train", "parent")].inputs["base"] == steps[Place("base", "parent")].key
    assert steps[Place("merge", "child")].inputs["adapter"] == steps[Place("train", "child")].key


def test_what_changes_the_adapter_changes_the_key(tmp_path: Any) -> None:
    keys = {
        key(tmp_path),
        key(tmp_path, adapter={"type": "qlora"}),
        key(tmp_path, adapter={"r": 8}),
        key(tmp_path, args={"learning_rate": 1e-3}),
        key(tmp_path, args={"seed": 43}),
    }
    assert len(keys) == 5


def test_writing_a_default_out_changes_nothing(tmp_path: Any) -> None:
    assert key(tmp_path, method="sft", adapter={"type": "lora", "r": 16}) == key(tmp_path)


def test_what_to_do_at_a_spike_reaches_the_step_and_changes_no_key(tmp_path: Any) -> None:
    steps = planned(family("./b", {"v": {"train": {"on_spike": "note"}}}), tmp_path).steps
    assert steps[Place("train", "v")].hints["on_spike"] == "note"
    assert steps[Place("train", "v")].key == key(tmp_path)


def test_an_unknown_method_is_a_problem_with_a_hint(tmp_path: Any) -> None:
    desk = planned(family("./b", {"v": {"train": {"method": "stf"}}}), tmp_path)
    assert desk.problems == [("variants.v.train.method", "unknown training method 'stf'. Did you mean 'sft'?")]
    assert Place("train", "v") not in desk.steps
    assert Place("merge", "v") not in desk.steps


@pytest.mark.parametrize("missing", ["base", "data"])
def test_without_its_inputs_nothing_is_planned_and_nothing_more_is_said(tmp_path: Any, missing: str) -> None:
    desk = PlainDesk(family("./b", {"v": {}}), tmp_path)
    if missing != "base":
        desk.add(Place("base", "v"), Step("base", 1, "folder"))
    if missing != "data":
        desk.add(Place("data", "v", "mix"), Step("data", 1, "mix"))
    for stage in (STAGE, merge.STAGE):
        stage.plan(desk, "v", desk.family.variants["v"])
    assert not desk.problems
    assert not {place.stage for place in desk.steps} & {"train", "merge"}
