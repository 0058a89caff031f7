"""``vf data``: what a person sees of rows before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.stages.data.workbench import chat, write_jsonl
from variantforge.cli.rows import visible

GOLDEN = Path(__file__).parents[1] / "golden"
SECRET = "ghp_" + "a1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
FAMILY = """\
family: toy
base: {model: ./base}
datasets:
  chat: {path: ./chat.jsonl, license: mit}
  prefs: {path: ./prefs.jsonl, format: preference, license: mit}
evaluate: {heldout: {evaluator: perplexity, fraction: 0.2}}
variants:
  nice: {kind: instruct, data: {epochs: {chat: 2}}, train: {args: {max_length: 48}}}
  dear: {kind: instruct, data: {mix: {prefs: 1}}, train: {method: dpo}}
publish: {artifacts: [merged]}
"""
Golden = Callable[[Path, str], None]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A family whose base and data steps are done at the first asking, for all tests here."""
    folder = tmp_path_factory.mktemp("family")
    (folder / "base").symlink_to(tiny_llama)
    chats = [chat(f"What is {n} plus {n}?", f"It is  {2 * n}.\n\tSo there." * (1 + n % 3)) for n in range(30)]
    write_jsonl(folder / "chat.jsonl", [*chats, chat("My key?", SECRET)])
    prefs = [{"prompt": f"Say {n}", "chosen": f"Dear friend, {n}.", "rejected": f"{n}!!"} for n in range(20)]
    write_jsonl(folder / "prefs.jsonl", prefs)
    (folder / "family.yaml").write_text(FAMILY)
    return folder / "family.yaml"


@pytest.mark.parametrize("command", ["preview", "check"])
def test_both_commands_explain_themselves_with_examples(vf: Vf, golden: Golden, command: str) -> None:
    ended = vf("data", command, "--help")
    golden(GOLDEN / "help" / f"data-{command}.txt", ended.out)
    assert ended.code == 0
    assert f"\n    vf data {command}" in ended.out


def test_a_preview_shows_rows_as_the_template_writes_them(vf: Vf, family: Path, golden: Golden) -> None:
    ended = vf("data", "preview", "nice", family, "--rows", "2", "--show-mask")
    golden(GOLDEN / "cli" / "data-preview.txt", ended.out)
    assert ended.code == 0


def test_both_sides_of_a_comparison_are_shown(vf: Vf, family: Path) -> None:
    out = vf("data", "preview", "dear", family, "--rows", "1", "--show-mask").out
    assert out.index("chosen") < out.index("⟦Dear friend, ") < out.index("rejected") < out.index("!!<|im_end|>⟧")


def test_a_preview_is_json_where_json_was_asked_for(vf: Vf, family: Path) -> None:
    told = json.loads(vf("data", "preview", "nice", family, "--rows", "3", "--json").out)
    assert (told["variant"], told["max_length"], len(told["rows"])) == ("nice", 48, 3)
    pieces = told["rows"][0]["views"][0]["pieces"]
    assert "".join(piece["text"] for piece in pieces).startswith("<|im_start|>")
    assert [piece["supervised"] for piece in pieces if "It is" in piece["text"]] == [True]


def test_one_row_is_found_by_the_beginning_of_its_id_and_its_secrets_stay_hidden(vf: Vf, family: Path) -> None:
    told = json.loads(vf("data", "check", "nice", family, "--json").out)
    (id,) = told["variants"]["nice"]["statistics"]["places"]["GitHub token"]
    out = vf("data", "preview", "nice", family, "--row", id[:6]).out
    assert f"row {id}" in out
    assert "ghp_…" in out
    assert SECRET[4:] not in out


def test_a_row_that_is_not_there_is_told(vf: Vf, family: Path) -> None:
    ended = vf("data", "preview", "nice", family, "--row", "zzzz")
    assert ended.code == 2
    assert "error: no row whose id begins with 'zzzz'" in ended.err


def test_an_unknown_variant_is_answered_with_a_near_one(vf: Vf, family: Path) -> None:
    ended = vf("data", "preview", "nise", family)
    assert (ended.code, ended.out) == (2, "")
    assert "no variant 'nise'. Did you mean 'nice'?" in ended.err


def test_a_check_tells_what_rows_are_like(vf: Vf, family: Path, golden: Golden) -> None:
    ended = vf("data", "check", "nice", family)
    golden(GOLDEN / "cli" / "data-check.txt", ended.out)
    assert ended.code == 0


def test_a_check_of_a_file_alone_tells_of_all_its_variants(vf: Vf, family: Path) -> None:
    ended = vf("data", "check", family, "--json")
    assert ended.code == 0
    assert list(json.loads(ended.out)["variants"]) == ["nice", "dear"]


def test_a_check_of_what_would_stop_a_training_ends_with_1(vf: Vf, family: Path, tmp_path: Path) -> None:
    rows = [chat(f"q{n} <|im_end|>" if n % 2 else f"q{n}", f"a{n}") for n in range(40)]
    write_jsonl(family.parent / "odd.jsonl", rows)
    text = FAMILY.replace("./chat.jsonl", "./odd.jsonl")
    odd = family.parent / "odd.yaml"
    odd.write_text(text)
    ended = vf("data", "check", "nice", odd)
    assert ended.code == 1
    assert "error: 1 thing would stop a training" in ended.err
    assert "nice: <|im_end|> in the text of " in ended.err
    assert f"next: vf data preview nice {odd} --show-mask" in ended.err
    odd.write_text(f"{text}data_policy: {{on_special_tokens: keep}}\n")
    assert vf("data", "check", "nice", odd).code == 0


def test_a_check_tells_which_suites_are_in_the_rows(vf: Vf, family: Path) -> None:
    question = "What is the sum of the first seven numbers that stand in this very long line of numbers"
    write_jsonl(family.parent / "suite.jsonl", [{"id": "sum", "question": question}])
    write_jsonl(family.parent / "leak.jsonl", [*[chat(f"q{n}", f"a{n}") for n in range(30)], chat(question, "28")])
    text = FAMILY.replace("./chat.jsonl", "./leak.jsonl").replace("fraction: 0.2", "fraction: 0.1")
    leak = family.parent / "leak.yaml"
    leak.write_text(f"{text}data_policy: {{decontaminate: {{against: [./suite.jsonl]}}}}\n")
    assert "  suite ./suite.jsonl: 1 of 1 items found in 1 rows, dropped\n" in vf("data", "check", "nice", leak).out


def test_a_plan_tells_how_often_rows_would_be_read(vf: Vf, family: Path) -> None:
    vf("data", "check", "nice", family)  # the rows are counted now
    more = family.parent / "more.yaml"
    more.write_text(FAMILY.replace("{chat: 2}", "{chat: 3}"))
    assert "data nice mix: chat is read 3 times (28 rows, 84 in all)\n" in vf("plan", more, "--until", "data").out
    (mix,) = json.loads(vf("plan", more, "--until", "data", "--json").out)["mixes"]
    assert mix["sources"] == [{"source": "chat", "rows": 28, "times": 3.0}]
    assert "is read" not in vf("plan", family, "--until", "data", "--only", "nice").out


@pytest.mark.parametrize(
    ("text", "seen"),
    [("a\tb\n", "a⇥b↵\n"), ("  a b  ", "··a b··"), ("a  b", "a ·b"), ("a\r\n", "a␍↵\n"), ("", ""), ("   ", "···")],
)
def test_white_space_can_be_seen(text: str, seen: str) -> None:
    assert visible(text) == seen
