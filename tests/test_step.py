"""A step's key is the hash of exactly what it is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.hashing import canonical_json, key_of
from variantforge.step import Pin, Step

STEP = Step("train", 1, "sft", {"lr": 1e-4}, {"base": "b"}, {"data": Pin("d", "/here")}, {"batch": 4})


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "merge"},
        {"version": 2},
        {"method": "dpo"},
        {"params": {"lr": 2e-4}},
        {"params": {"lr": 1e-4, "seed": 1}},
        {"inputs": {"base": "c"}},
        {"inputs": {"other": "b"}},
        {"pins": {"data": Pin("e", "/here")}},
    ],
)
def test_everything_that_makes_a_step_changes_its_key(change: dict) -> None:
    assert dataclasses.replace(STEP, **change).key != STEP.key


@pytest.mark.parametrize("change", [{"hints": {}}, {"pins": {"data": Pin("d", "/elsewhere")}}])
def test_where_bytes_lie_and_how_they_are_made_does_not(change: dict) -> None:
    assert dataclasses.replace(STEP, **change).key == STEP.key


def test_a_key_never_moves_between_releases() -> None:
    assert STEP.key == "04d17a62fa367d232bd2788b3ec9e64e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict) -> None:
    assert key_of(dict(reversed(value.items()))) == key_of(value)


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))
