"""What a plan calls its steps."""

from __future__ import annotations

import pytest

from tests.run.toys import FAMILY
from variantforge.plan.plan import Plan
from variantforge.stages import Place
from variantforge.step import Step


@pytest.mark.parametrize(
    ("variants", "label"),
    [
        (1, "base v0"),
        (2, "base v0 = v1"),
        (9, "base v0 = v1, v2, v3, v4, v5, v6, v7, v8"),
        (10, "base v0 = v1, v2, v3, v4, v5, v6, v7, 2 more"),
        (2000, "base v0 = v1, v2, v3, v4, v5, v6, v7, 1,992 more"),
    ],
)
def test_a_shared_step_names_the_first_variants_that_share_it(variants: int, label: str) -> None:
    step = Step("base", 1, "folder")
    places = {Place("base", f"v{number}"): step.key for number in range(variants)}
    assert Plan(FAMILY, {step.key: step}, places).label(step.key) == label
