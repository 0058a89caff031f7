"""Each rule about the form of an answer, on answers of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.stages.data.words import words
from variantforge.stages.evaluate.format.checks import (
    fits,
    json_in,
    leaks,
    loops,
    why_no_schema,
    why_not_json,
    why_wrong_call,
)
from variantforge.stages.evaluate.format.suite import items, tools

ROOT = Path(__file__).parents[4]
SENTENCE = "the quick brown fox jumps over the lazy dog. "
TABLE = "| fruit | colour |\n|-------|--------|\n| apple | red |\n| plum | blue |\n"


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE * 5,
        "I think that " + "it is so " * 20,
        "a" * 100,
        "!" * 700,
        "好" * 70,
        "天空是蓝色的。" * 12,
        "ha" * 40,
        "\n".join(f"{number}. Wash your hands with soap and warm water first." for number in range(1, 9)),
        "{" * 80,
    ],
    ids=range(9),
)
def test_what_is_said_again_and_again_is_a_loop(text: str) -> None:
    assert loops(text)
    assert loops(f"Here is my answer. {text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        SENTENCE * 3,
        TABLE,
        "-" * 300,
        "=" * 80 + "\nTitle\n" + "=" * 80,
        "no, no, no, no, no!",
        "def add(a, b):\n    return a + b\n\n\ndef mul(a, b):\n    return a * b\n",
        "[0, 0, 0, 0, 0, 0, 0, 0, 0]",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
        "\n".join(f"        x{number} = {number}" for number in range(40)),
    ],
    ids=range(10),
)
def test_what_says_something_new_is_none(text: str) -> None:
    assert not loops(text)


def test_the_rule_is_what_it_says_run_for_run() -> None:
    said = " ".join(f"w{number}" for number in range(8))
    assert not loops(" and ".join([said] * 3))
    assert loops(" and ".join([said] * 4))
    assert loops(" and ".join([said] * 2), times=2)
    assert not loops(" and ".join([said] * 4), gram=20)


@given(st.text(max_size=60).filter(words))
def test_whatever_is_said_forty_times_is_a_loop(text: str) -> None:
    assert loops(f"{text} " * 40)


def test_a_long_text_is_looked_through_to_its_end() -> None:
    """A rule that took the square of the length would not come back."""
    assert loops("ab" * 50_000 + "c")
    assert not loops(" ".join(map(str, range(20_000))))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sure.<|im_end|>\n<|im_start|>user\nAnd?", "<|im_end|>"),
        ("<|eot_id|>", "<|eot_id|>"),
        ("<start_of_turn>model", "<start_of_turn>"),
        ("[INST] hello [/INST]", "[INST]"),
        ("Yes.\n### Instruction:\nGo on", "### Instruction:"),
        ("Yes.\n\nuser\nWhat else?", "user"),
        ("Yes.\nAssistant:\nNo", "Assistant:"),
        ("Fine</s>", "</s>"),
        ("<｜Assistant｜>", "<｜Assistant｜>"),
        ("text <tool_response> more", "<tool_response>"),
        ("The user asked the assistant: why?", ""),
        ("### Result\nA table", ""),
        ("The user: a person who uses something.", ""),
        ("Use `<s>` tags like <strong>this</strong>.", ""),
        ("a < b | c > d", ""),
    ],
)
def test_pieces_of_a_template_are_found_and_nothing_else(text: str, found: str) -> None:
    assert leaks(text, ["<tool_response>", "<|im_end|>"]) == found


@pytest.mark.parametrize(
    ("text", "why", "fenced"),
    [
        ('{"name": "x"}', "", ""),
        (' \n{"name": "x"}\n', "", ""),
        ('```json\n{"name": "x"}\n```', "not JSON", ""),
        ('Here:\n```json\n{"name": "x"}\n```\nDone', "not JSON", ""),
        ('```json\n{"name": 3}\n```', "not JSON", "not of the schema"),
        ('{"name": "x"} and more', "not JSON", "not JSON"),
        ('{"name": NaN}', "not JSON", "not JSON"),
        ('{"nome": "x"}', "not of the schema", "not of the schema"),
        ("[" * 100_000, "not JSON", "not JSON"),
        ("", "not JSON", "not JSON"),
    ],
    ids=range(10),
)
def test_json_is_the_whole_answer_or_what_its_block_holds(text: str, why: str, fenced: str) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    assert why_not_json(text, schema) == why
    assert why_not_json(text, schema, fenced=True) == fenced


def test_any_json_is_json_without_a_schema() -> None:
    assert json_in("3") == 3
    assert why_not_json("3", None) == ""


def test_a_schema_is_checked_and_nothing_is_fetched_for_it() -> None:
    assert why_no_schema({"type": "objekt"}).startswith("not a JSON Schema: ")
    with pytest.raises(Exception, match=r"(?i)unresolvable|nowhere"):
        fits(1, {"$ref": "https://localhost/nowhere.json"})


def message(*calls: tuple[str, dict[str, object]]) -> dict[str, object]:
    return {"tool_calls": [{"function": {"name": name, "arguments": told}} for name, told in calls]}


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([("get_weather", {"city": "oslo "})], ""),
        ([], "no call"),
        ([("get_weather", {"city": "Oslo"})] * 2, "several calls"),
        ([("set_timer", {"minutes": 3})], "another tool"),
        ([("get_weather", {})], "arguments not of the schema"),
        ([("get_weather", {"city": 3})], "arguments not of the schema"),
        ([("get_weather", {"city": "Lima"})], "other arguments"),
    ],
    ids=range(7),
)
def test_a_call_is_the_right_one_with_right_arguments(calls: list[tuple[str, dict[str, object]]], why: str) -> None:
    wanted = {"tool": "get_weather", "arguments": {"city": "Oslo"}}
    assert why_wrong_call(message(*calls), wanted, tools()) == why


def test_our_own_prompts_are_many_different_and_sound() -> None:
    from variantforge.stages.evaluate.format.evaluator import why_wrong

    asked = items()
    assert len({item.id for item in asked}) == len({item.text for item in asked}) == len(asked) >= 36
    assert [why_wrong(item) for item in asked] == [""] * len(asked)
    kinds = [item.id.partition("/")[0] for item in asked]
    assert {kind: kinds.count(kind) >= 10 for kind in set(kinds)} == {"json": True, "tool": True, "plain": True}
    assert items() == asked


def test_the_documentation_tells_how_many_prompts_are_ours() -> None:
    kinds = [item.id.partition("/")[0] for item in items()]
    json, tool, plain = (kinds.count(kind) for kind in ("json", "tool", "plain"))
    told = f"Our own prompts are {len(kinds)}: {json} for JSON, {tool} for calls, {plain} plain ones."
    assert told in " ".join((ROOT / "docs" / "evaluators.md").read_text().split())
