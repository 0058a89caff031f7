from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.card.made import SPEC, made, merged_with
from variantforge.spec.family import FamilySpec
from variantforge.stages.card.repos import naming_problems, repos_of

ONE = {"kind": "code", "data": {"mix": {"pairs": 1.0}}, "quantize": ["gguf:Q8_0"]}


def problems(changes: dict[str, Any]) -> list[str]:
    return list(naming_problems(FamilySpec.model_validate(merged_with(SPEC, changes))))


def test_each_form_has_the_suffix_people_know() -> None:
    family = FamilySpec.model_validate(SPEC)
    ids = [repo.id for repo in repos_of(family)]
    assert ids == ["acme/Small-code", "acme/Small-code-LoRA", "acme/Small-code-GGUF", "acme/Small-code-nf4"]


def test_a_family_of_good_names_has_no_problem() -> None:
    assert problems({}) == []


def test_a_variant_whose_repo_is_the_gguf_repo_of_another_is_told() -> None:
    clashing = {"variants": {"x": ONE, "x-gguf": ONE}, "publish": {"repo": "{variant}"}}
    assert problems(clashing) == [
        "'x-gguf' would be the gguf repo of 'x' and the merged repo of 'x-gguf': choose a name under which they differ"
    ]


def test_a_repo_cannot_be_called_like_the_family_page() -> None:
    assert "the family page" in problems({"variants": {"readme.md": ONE}, "publish": {"repo": "{variant}"}})[0]


@pytest.mark.parametrize("template", ["a--b-{variant}", "{variant}..x", "-{variant}", "{variant}" + "x" * 99])
def test_a_name_the_hub_refuses_is_told_before_anything_runs(template: str) -> None:
    told = problems({"publish": {"repo": template, "artifacts": ["merged"]}})
    assert len(told) == 1
    assert "is no repo name" in told[0]


def test_naming_problems_are_told_at_the_key_of_the_template(tmp_path: Path) -> None:
    family = made(tmp_path, {"publish": {"repo": "a--{variant}"}})
    assert {key for key, _ in family.problems} == {"publish.repo"}


def test_a_form_that_no_variant_makes_is_told_at_its_place(tmp_path: Path) -> None:
    full = {**ONE, "train": {"adapter": {"type": "full"}}}
    named = {"artifacts": ["merged", "nf4", "gguf", "adapter"]}
    family = made(tmp_path, {"variants": {"code": full}, "publish": named})
    assert family.problems == [
        ("publish.artifacts[1]", "no variant makes nf4: add nf4 to 'quantize', or remove it here"),
        ("publish.artifacts[3]", "every variant trains all of its weights, so there is no adapter: remove it"),
    ]


def test_what_one_variant_makes_may_be_named_for_all(tmp_path: Path) -> None:
    variants = {"code": ONE, "docs": {**ONE, "quantize": ["nf4"]}}
    assert made(tmp_path, {"variants": variants, "publish": {"artifacts": ["gguf", "nf4"]}}).problems == []
