"""The order of versions."""

from __future__ import annotations

import itertools

import pytest

from variantforge.release.record import Trailer
from variantforge.release.versions import is_newer, is_release_of, version_order

IN_ORDER = ["0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.1"]
IN_ORDER += ["1.2.0", "1.10.0", "2.0.0-rc.1", "10.0.0"]


def test_versions_have_the_precedence_of_semantic_versioning() -> None:
    assert sorted(IN_ORDER, key=version_order) == IN_ORDER
    assert all(is_newer(later, earlier) for earlier, later in itertools.pairwise(IN_ORDER))


def test_a_build_counts_for_nothing() -> None:
    assert not is_newer("1.0.0+cuda", "1.0.0")
    assert not is_newer("1.0.0", "1.0.0+cuda")


def test_what_is_no_version_has_no_place() -> None:
    with pytest.raises(ValueError, match="'latest' is no version"):
        version_order("latest")


@pytest.mark.parametrize(
    ("version", "found"), [("1.1.0", True), ("1.1.0-rc", False), ("1.1", False), ("1.10", False), (".*", False)]
)
def test_a_trailer_names_one_version(version: str, found: bool) -> None:
    trailer = Trailer(f"stable-1.1.0-{'a' * 32}", "b" * 64)
    assert is_release_of(trailer, "stable", version) is found
    assert not is_release_of(trailer, "candidate", version)
