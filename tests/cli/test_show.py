"""``vf show``: what there is, how good it is, where it lies."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy, family_text
from variantforge.stages import Place
from variantforge.store.overview import Entry, Overview

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
Golden = Callable[[Path, str], None]


def steady(text: str) -> str:
    """Without what differs between machines and minutes: times of runs and the sizes and keys of small files."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE TIME", text)
    return re.sub(r"(done|DataError)  \S+ (s|min)", r"\1  TIME", text)


def test_everything_of_a_family_is_shown(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    vf("apply")
    ended = vf("show")
    assert (ended.code, ended.err) == (0, "")
    golden(GOLDEN / "show.txt", steady(ended.out))


def test_nothing_yet_names_the_command_that_makes_it(vf: Vf, toys: dict[str, Toy]) -> None:
    assert vf("show").out == "toy 0.1.0\ncode nothing yet\nlaw nothing yet\nnext: vf apply\n"
    assert vf("show", "--store", "else where").out.endswith("next: vf apply --store 'else where'\n")
    assert vf("show", "--store=there").out.endswith("next: vf apply --store=there\n")


def test_one_variant_may_be_asked_for_with_or_without_the_file(vf: Vf, toys: dict[str, Toy]) -> None:
    vf("apply")
    alone = vf("show", "law").out
    assert alone == vf("show", "family.yaml", "law").out
    assert "\ncode" not in alone
    assert "\nlaw" in alone


def test_a_variant_that_is_not_there_is_answered_with_a_near_one(vf: Vf, toys: dict[str, Toy]) -> None:
    ended = vf("show", "family.yaml", "lwa")
    assert ended.code == 2
    assert ended.err == "error: no variant 'lwa' in family.yaml. Did you mean 'law'?\nnext: vf show\n"


def test_what_was_made_is_shown_also_after_the_file_was_changed(vf: Vf, toys: dict[str, Toy], tmp_path: Path) -> None:
    vf("apply")
    before = vf("show").out
    (tmp_path / "family.yaml").write_text(family_text("3.0e-4"))
    assert vf("show").out == before


def test_a_removed_artifact_is_gone_and_the_rest_stays(vf: Vf, toys: dict[str, Toy], tmp_path: Path) -> None:
    vf("apply")
    shutil.rmtree(tmp_path / ".variantforge" / "evaluate")
    shown = json.loads(vf("show", "--json").out)["variants"]["code"]
    sizes = {artifact["name"]: artifact["size_bytes"] for artifact in shown["artifacts"]}
    assert sizes["evaluate heldout:nf4"] is None
    assert sizes["quantize nf4"] > 1_500_000
    assert shown["metrics"] == []
    assert "evaluate heldout:nf4  " in vf("show").out


def test_json_holds_measurements_verdicts_and_publications(vf: Vf, toys: dict[str, Toy]) -> None:
    vf("apply")
    shown = json.loads(vf("show", "code", "--json").out)
    code = shown["variants"]["code"]
    assert list(shown["variants"]) == ["code"]
    assert code["metrics"][0]["metric"] == "heldout.loss"
    assert (code["metrics"][0]["low"], code["metrics"][0]["high"]) == (2.3, 2.4)
    assert code["verdicts"][0]["verdict"] == "pass"
    assert code["published"] == [{"form": "nf4", "at": "published/toy-code-nf4", "withheld": {}}]
    assert shown["runs"][0]["outcome"] == "done"


def test_how_each_dataset_was_read_is_shown_with_the_reason(
    vf: Vf, toys: dict[str, Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"rows": 1200, "train": 1100, "heldout": 90, "bad": {}, "dropped": {"duplicates": 10, "over_limit": 0}}
    read = {
        "format": "preference",
        "format_why": "columns chosen, rejected, question",
        "ignored_columns": ["id", "url"],
    }
    mined = Entry(Place("data", None, "code"), "1" * 32, tmp_path / "mined")
    prefs = Entry(Place("data", None, "prefs"), "2" * 32, tmp_path / "prefs")
    for entry, told in ((mined, {}), (prefs, read)):
        entry.path.mkdir()
        (entry.path / "manifest.json").write_text("{}")
        (entry.path / "facts.json").write_text(json.dumps(facts | told))
    monkeypatch.setattr("variantforge.store.overview.overview", lambda store, family: Overview([mined, prefs], []))
    assert json.loads(vf("show", "--json").out)["datasets"] == [{"name": "prefs", **facts, **read}]
    assert vf("show").out.endswith(
        "data\n  prefs  1,200 rows  preference (columns chosen, rejected, question); not read: id, url\n"
    )
