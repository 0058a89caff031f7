from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.family import SMALL, load
from variantforge.errors import UsageError
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.spec.inherit import in_order, inherit

DEFAULTS = """\
defaults:
  train:
    adapter: {type: qlora, r: 64, target_modules: [q_proj]}
    args: {learning_rate: 1.0e-4, max_length: 512, lr_scheduler_kwargs: {a: 1}}
  quantize: [nf4]
"""


def variant_of(folder: Path, extra: str = "", defaults: str = DEFAULTS) -> VariantSpec:
    text = SMALL.replace("{pairs: 1.0}}", "{pairs: 1.0}}" + extra) + defaults
    return inherit(load(folder, text).spec).variants["code"]


def test_a_variant_that_says_nothing_takes_all_defaults(tmp_path: Path) -> None:
    variant = variant_of(tmp_path)
    assert variant.train.adapter.type == "qlora"
    assert variant.train.args == {"learning_rate": 1e-4, "max_length": 512, "lr_scheduler_kwargs": {"a": 1}}
    assert variant.quantize == ["nf4"]


def test_adapter_fields_are_merged_one_by_one(tmp_path: Path) -> None:
    adapter = variant_of(tmp_path, ", train: {adapter: {r: 16, dropout: 0.1}}").train.adapter
    assert (adapter.type, adapter.r, adapter.dropout, adapter.target_modules) == ("qlora", 16, 0.1, ["q_proj"])


def test_a_variants_own_value_wins_even_when_it_is_the_general_default(tmp_path: Path) -> None:
    adapter = variant_of(tmp_path, ", train: {adapter: {type: lora, r: 16, target_modules: all-linear}}").train.adapter
    assert (adapter.type, adapter.r, adapter.target_modules) == ("lora", 16, "all-linear")


def test_args_are_merged_key_by_key_and_not_deeper(tmp_path: Path) -> None:
    args = variant_of(tmp_path, ", train: {args: {max_length: 128, lr_scheduler_kwargs: {b: 2}}}").train.args
    assert args == {"learning_rate": 1e-4, "max_length": 128, "lr_scheduler_kwargs": {"b": 2}}


def test_arguments_belong_to_a_method_and_another_one_starts_from_its_own(tmp_path: Path) -> None:
    train = variant_of(tmp_path, ", train: {method: dpo, args: {beta: 0.2}}").train
    assert (train.method, train.args) == ("dpo", {"beta": 0.2})
    assert (train.adapter.type, train.adapter.r) == ("qlora", 64)
    assert variant_of(tmp_path, ", train: {method: sft, args: {seed: 3}}").train.args["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("own", "formats"), [("", ["nf4"]), (", quantize: []", []), (", quantize: ['gguf:F16']", ["gguf:F16"])]
)
def test_formats_are_taken_whole_and_an_empty_list_is_ones_own(own: str, formats: list[str], tmp_path: Path) -> None:
    assert variant_of(tmp_path, own).quantize == formats


def test_without_defaults_a_variant_is_left_as_it_is(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL).spec
    assert inherit(spec) == spec


def test_inheriting_makes_a_new_spec_and_twice_is_once(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + DEFAULTS).spec
    before = spec.model_dump_json()
    once = inherit(spec)
    assert spec.model_dump_json() == before
    assert inherit(once) == once


def test_what_is_inherited_enters_identity_as_if_it_were_written(tmp_path: Path) -> None:
    train = "train: {adapter: {type: qlora, r: 64, target_modules: [q_proj]}}"
    inherited = variant_of(tmp_path, defaults=f"defaults: {{{train}}}")
    written = variant_of(tmp_path, f", {train}", defaults="")
    assert inherited.train.identity() == written.train.identity()


def family(**parents: str | None) -> FamilySpec:
    variants = {name: {"kind": "code", "from": parent, "data": {"mix": {}}} for name, parent in parents.items()}
    return FamilySpec.model_validate({"family": "f", "base": {"model": "./base"}, "variants": variants})


def test_variants_stand_in_file_order_but_behind_what_they_start_from() -> None:
    assert in_order(family(a=None, b=None)) == ["a", "b"]
    assert in_order(family(law="chat", code=None, chat="root", root=None, more="chat")) == [
        "root",
        "chat",
        "law",
        "code",
        "more",
    ]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"z": "a", "a": "b", "b": "c", "c": "a"}])
def test_a_circle_is_named_and_never_walked_for_ever(parents: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="circle: a -> "):
        in_order(family(**parents))


@pytest.mark.timeout(60)  # a quadratic walk takes many minutes
def test_a_long_line_of_parents_is_walked_once() -> None:
    names = [f"v{i}" for i in range(20_000)]
    assert in_order(family(**dict(zip(names, [*names[1:], None], strict=True)))) == names[::-1]
