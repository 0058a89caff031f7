"""How the fields that changed are named."""

from __future__ import annotations

from typing import Any

import pytest

from variantforge.plan.explain import differences

NOTE, OTHER = {"repo": "acme/a", "note": "one"}, {"note": "two", "repo": "acme/b"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"r": 8}, {"r": 16}, ["r: 8 → 16"]),
        ({}, {"r": 16}, ["r: default → 16"]),
        ({"adapter": {"r": 8, "alpha": 1}}, {"adapter": {"alpha": 2, "r": 8}}, ["adapter.alpha: 1 → 2"]),
        ({"description": ""}, {"description": "Words."}, ["description: nothing → Words."]),
        ({"packages": ["json"]}, {"packages": ["json", "xml"]}, ["packages: ['json'] → ['json', 'xml']"]),
        ({"items": [NOTE, OTHER]}, {"items": [NOTE, {**OTHER, "note": "new"}]}, ["items[1].note: two → new"]),
        ({"items": [NOTE]}, {"items": [NOTE, OTHER]}, ["items: 1 → 2 entries"]),
        ({"items": [dict(reversed(NOTE.items()))]}, {"items": [NOTE]}, []),
    ],
)
def test_what_changed_is_named_down_to_its_field(old: dict[str, Any], new: dict[str, Any], told: list[str]) -> None:
    assert list(differences(old, new, "params")) == told
