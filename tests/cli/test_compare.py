"""``vf compare``: two subjects beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.report.shelves import FAMILY, Demo, planned
from variantforge.cli.compare import beside
from variantforge.stages import Place

GOLDEN = Path(__file__).parents[1] / "golden" / "cli" / "compare.txt"


def test_metrics_in_pairs_and_answers_side_by_side(vf: Vf, demo: Demo, golden: Callable[[Path, str], None]) -> None:
    ended = vf("compare", "instruct/Q4_K_M", "instruct", demo.file, "--items", "2")
    assert ended.code == 0
    golden(GOLDEN, ended.out)


def test_a_bare_base_is_that_of_the_other(vf: Vf, demo: Demo) -> None:
    told = json.loads(vf("compare", "base", "code", demo.file, "--json").out)
    assert (told["first"], told["second"]) == ("code/base", "code/merged")
    loss = told["metrics"][0]
    assert loss["metric"] == "heldout.loss"
    assert loss["gain"]["high"] < 0


def test_turned_round_a_gain_is_a_loss(vf: Vf, demo: Demo) -> None:
    one = json.loads(vf("compare", "code", "base", demo.file, "--json").out)["metrics"][0]["gain"]
    other = json.loads(vf("compare", "base", "code", demo.file, "--json").out)["metrics"][0]["gain"]
    assert one["value"] == -other["value"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cod", "the family has no 'cod'.\n  Did you mean 'code'?"),
        ("instruct/Q4_K", "instruct has no 'Q4_K'.\n  Did you mean 'Q4_K_M'?"),
        ("xyzzy", "the family has no 'xyzzy'.\n  There are: base, instruct, code, mini."),
    ],
)
def test_a_subject_that_is_not_there_is_answered_with_a_near_one(vf: Vf, demo: Demo, name: str, hint: str) -> None:
    ended = vf("compare", name, "base", demo.file)
    assert ended.code == 2
    assert hint in ended.err


def test_what_was_not_measured_is_missing_with_the_command_that_measures_it(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    ended = vf("compare", "code", "base", demo.file, "--store", tmp_path / "empty")
    assert ended.code == 0
    assert "missing: heldout of code/merged and code/base" in ended.out
    assert ended.out.endswith(f"next: vf apply {demo.file} --store {tmp_path / 'empty'}\n")


def test_other_tokens_are_never_set_against_each_other(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    own = demo.copied(tmp_path)
    key = demo.plan.places[Place("evaluate", "code", "heldout:base")]
    facts = own.store.root / "evaluate" / key / "facts.json"
    facts.write_text(facts.read_text().replace('"same"', '"others"'))
    told = json.loads(vf("compare", "code", "base", demo.file, "--store", own.store.root, "--json").out)
    loss = next(one for one in told["metrics"] if one["metric"] == "heldout.loss")
    assert (loss["gain"], loss["why"]) == (None, "other tokens were measured")


def test_answers_that_a_terminal_would_obey_are_shown_as_text(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    own = demo.copied(tmp_path)
    own.say("\x1b[31mred\x07 \x9b2J and\nmore")
    out = vf("compare", "code", "base", demo.file, "--store", own.store.root).out
    assert "red" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_to_ask_what_is_not_made_names_the_command_that_makes_it(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    ended = vf("compare", "code", "base", demo.file, "--store", tmp_path / "empty", "--prompt", "Hello?")
    assert ended.code == 2
    assert "error: code/merged is not made yet" in ended.err
    assert ended.err.endswith("next: vf apply\n")


def test_a_file_of_prompts_that_holds_none_is_told_with_its_line(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "ask.jsonl").write_text('{"prompt": "one"}\n{"question": "two"}\n')
    ended = vf("compare", "code", "base", demo.file, "--prompts", "ask.jsonl")
    assert ended.code == 1
    assert "ask.jsonl" in ended.err
    assert "2" in ended.err


def test_two_texts_are_wrapped_beside_each_other() -> None:
    assert list(beside("one two three", "x", 8)) == [("one two ", "x"), ("three", "")]


def test_what_one_of_them_cannot_have_stands_alone_and_is_not_missing(vf: Vf, demo: Demo) -> None:
    told = json.loads(vf("compare", "code", "code/nf4", demo.file, "--json").out)
    kl = next(one for one in told["metrics"] if one["metric"] == "heldout.kl")
    assert (kl["first"], kl["gain"], kl["why"]) == (None, None, "measured of one alone")
    assert kl["second"]["value"] > 0


def test_an_evaluation_that_is_not_for_both_is_not_missing(vf: Vf, tmp_path: Path) -> None:
    demo = planned(tmp_path, FAMILY.replace('  parity: {evaluator: "off"}\n', ""))
    assert Place("evaluate", "code", "parity:merged") in demo.plan.places
    told = json.loads(vf("compare", "code", "base", demo.file, "--json").out)
    assert told["missing"] == [f"{title} of code/merged and code/base" for title in ("heldout", "fast")]
