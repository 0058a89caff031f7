"""What published files tell of gates that were overridden: from outside, so read with care."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from variantforge.release.forced import Forced, forced_in, forced_in_folder

KEY, REASON = "ab" * 16, "accepted for now"


@pytest.mark.parametrize(
    "told",
    [
        None,
        [REASON],
        {"nf4": REASON},
        {"nf4": {"reason": 3, "gate": KEY}},
        {"nf4": {"reason": " ", "gate": KEY}},
        {"nf4": {"reason": REASON}},
        {"nf4": {"reason": REASON, "gate": [KEY]}},
        {"nf4": {"reason": REASON, "gate": KEY.upper()}},
    ],
    ids=range(8),
)
def test_what_is_not_of_our_form_says_nothing(told: Any) -> None:
    assert list(forced_in(told)) == []


def test_a_reason_is_one_line_of_bounded_length() -> None:
    (one,) = forced_in({"nf4": {"reason": "a\nb  c" + "x" * 20_000, "gate": KEY}})
    assert one == Forced(KEY, "nf4", ("a b c" + "x" * 20_000)[:10_000])


def test_only_repos_of_the_family_are_read_and_every_file_is_told(tmp_path: Path) -> None:
    forced = {"nf4": {"reason": REASON, "gate": KEY}}
    for repo, text in (
        ("ours", json.dumps({"family": "toy", "forced": forced})),
        ("theirs", json.dumps({"family": "other", "forced": {"nf4": {"reason": REASON, "gate": "cd" * 16}}})),
        ("damaged", '{"forced": '),
        ("a list", '["forced"]'),
    ):
        (tmp_path / repo).mkdir()
        (tmp_path / repo / "variantforge.json").write_text(text)
    (tmp_path / "README.md").write_text("# the family's page")
    looked: list[Path | str] = []
    assert forced_in_folder(tmp_path, "toy", looked.append) == {KEY: REASON}
    assert {Path(path).parent.name for path in looked} == {
        tmp_path.parent.name,
        "ours",
        "theirs",
        "damaged",
        "a list",
        "README.md",
    }
    assert forced_in_folder(tmp_path / "nowhere", "toy", looked.append) == {}
