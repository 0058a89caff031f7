"""Pairs, labels and prompts: what preference and reward training learn from, in the shapes that people have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stages.data.test_formats import assistant, content, recognised, system, user
from tests.stages.data.test_formats_tools import CALLED, TOOL, calling, tool
from variantforge.stages.data.formats.recognise import recognise
from variantforge.stages.data.sources import BadRow

PAIR = {"prompt": [user("q")], "chosen": [assistant("c")], "rejected": [assistant("r")]}
C, R = [user("q"), assistant("c")], [user("q"), assistant("r")]

PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "q", "chosen": "c", "rejected": "r"},
    "messages": {"prompt": [user("q")], "chosen": [assistant("c")], "rejected": [assistant("r")]},
    "a text and messages": {"prompt": "q", "chosen": [assistant("c")], "rejected": "r"},
    "one message each": {"prompt": "q", "chosen": assistant("c"), "rejected": assistant("r")},
    "an implicit prompt": {"chosen": C, "rejected": R},
    "Ultrafeedback": {"prompt": "q", "prompt_id": "1", "messages": C, "chosen": C, "rejected": R, "score_chosen": 1.0},
    "the prompt twice": {"prompt": [user("q")], "chosen": C, "rejected": R},
    "LLaMA-Factory's sharegpt": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "c"},
        "rejected": {"from": "gpt", "value": "r"},
    },
    "a question": {"question": "q", "chosen": "c", "rejected": "r"},
    "messages as JSON text": {
        "prompt": "q",
        "chosen": '[{"role": "assistant", "content": "c"}]',
        "rejected": '[{"from": "gpt", "value": "r"}]',
    },
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_every_shape_become_prompt_chosen_rejected(name: str) -> None:
    assert recognised(PAIRS[name]) == "preference"
    assert content(PAIRS[name]) == PAIR


def test_an_instruction_with_its_input_and_a_system_column_are_the_prompt() -> None:
    row = content({"instruction": "i", "input": "x", "system": "s", "chosen": "c", "rejected": "r"})
    assert row["prompt"] == [system("s"), user("i\n\nx")]


def test_columns_may_have_any_name() -> None:
    values = {"q": "q", "good": "c", "bad": "r"}
    assert content(values, "preference", prompt="q", chosen="good", rejected="bad") == PAIR
    assert recognised(values, prompt="q", chosen="good", rejected="bad") == "preference"


def test_an_implicit_prompt_is_the_longest_beginning_after_which_both_answer() -> None:
    begun = [system("s"), user("q"), calling(), tool("1")]
    chosen = [*begun, assistant("so"), user("more"), assistant("c")]
    row = content({"chosen": chosen, "rejected": [*begun, assistant("so"), user("other"), assistant("r")]})
    assert row["prompt"] == begun
    assert row["prompt"] + row["chosen"] == chosen


def test_an_implicit_prompt_does_not_end_between_the_answers_of_tools() -> None:
    begun = [user("q"), {**calling(), "tool_calls": [CALLED, CALLED]}, tool("1")]
    row = content({"chosen": [*begun, tool("2"), assistant("c")], "rejected": [*begun, assistant("r")]})
    assert row["prompt"] == [user("q")]


def test_a_conversation_that_goes_on_is_preferred_to_one_that_ends() -> None:
    row = content({"chosen": [*C, user("r"), assistant("d")], "rejected": C})
    assert row == {"prompt": [user("q")], "chosen": [assistant("c"), user("r"), assistant("d")], "rejected": C[1:]}


def test_a_pair_may_call_tools() -> None:
    row = content({"prompt": "q", "chosen": [calling()], "rejected": "r", "tools": [TOOL["function"]]})
    assert row == {"prompt": [user("q")], "chosen": [calling()], "rejected": [assistant("r")], "tools": [TOOL]}


BAD_PAIRS: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt": ({"chosen": "c", "rejected": "r"}, "no prompt: neither a column of its own, nor"),
    "nothing in common": ({"chosen": C, "rejected": [user("p"), assistant("r")]}, "chosen and rejected have no first"),
    "equal": ({"chosen": C, "rejected": C}, "chosen and rejected are equal: nothing is preferred"),
    "another prompt": (
        {"prompt": "z", "chosen": C, "rejected": R},
        "there are whole conversations beside the prompt, and it is",
    ),
    "no answer": ({"prompt": "q", "chosen": [*C[1:], user("?")], "rejected": "r"}, "the last turn of chosen is user"),
    "a user's turn": (
        {"prompt": "q", "chosen": [user("c")], "rejected": "r"},
        "chosen and rejected have no first user",
    ),
    "an answered prompt": ({"prompt": C, "chosen": "c", "rejected": "r"}, "the prompt ends with a turn of assistant"),
    "out of order": (
        {"prompt": "q", "chosen": [assistant("a"), assistant("b")], "rejected": "r"},
        "prompt and chosen: turn 3 is assistant, expected user or tool",
    ),
    "an empty answer": ({"prompt": "q", "chosen": "c", "rejected": " "}, "rejected is empty"),
    "a number": ({"prompt": "q", "chosen": "c", "rejected": 3}, "rejected is a number, not text"),
    "a place within": (
        {"prompt": [user("q"), {"role": "x", "content": "y"}], "chosen": "c", "rejected": "r"},
        "prompt, turn 2: unknown role 'x'",
    ),
    "input beside turns": (
        {"prompt": [user("q")], "input": "x", "chosen": "c", "rejected": "r"},
        "prompt is a list of turns, and there is a column 'input'",
    ),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_a_pair_from_which_nothing_can_be_learned_is_told(name: str) -> None:
    values, message = BAD_PAIRS[name]
    with pytest.raises(BadRow) as caught:
        content(values, "preference")
    assert caught.value.detail.startswith(message)


@pytest.mark.parametrize("label", [True, 1, "true", "True", "1"])
def test_labels_are_read_in_every_spelling(label: Any) -> None:
    row = content({"prompt": "q", "completion": "a", "label": label})
    assert row == {"prompt": [user("q")], "completion": [assistant("a")], "label": True}


@pytest.mark.parametrize("label", [False, 0, "false", "FALSE", "0"])
def test_a_bad_answer_is_labelled_false(label: Any) -> None:
    assert content({"prompt": "q", "completion": "a", "label": label})["label"] is False


@pytest.mark.parametrize("label", [2, -1, 1.0, 0.5, None, "yes", "good", [], float("nan")])
def test_another_label_is_refused_and_never_guessed_to_be_one(label: Any) -> None:
    values = {"prompt": "q", "completion": "a", "label": label}
    assert recognised(values) == "prompt_completion"  # such a column tells something else
    with pytest.raises(BadRow, match=r"^label is .*, not true or false$"):
        content(values, "unpaired_preference")


def test_the_last_turn_of_a_labelled_conversation_is_what_was_judged() -> None:
    begun = [system("s"), user("q"), calling(), tool("1")]
    values = {"messages": [*begun, assistant("a")], "kto_tag": False}
    row = content(values, "unpaired_preference", completion="messages", label="kto_tag")
    assert row == {"prompt": begun, "completion": [assistant("a")], "label": False}
    assert content({"completion": C, "label": 1, "prompt": "q"}) == {
        "prompt": C[:1],
        "completion": C[1:],
        "label": True,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"completion": "a"}, "no prompt: neither a column of its own, nor"),
        ({"completion": [user("q")]}, "the prompt ends with a turn of nobody; expected user or tool"),
        ({"completion": [user("q"), user("r")]}, "prompt and completion: turn 2 is user, expected assistant"),
        ({"completion": [*C, assistant("b")]}, "the prompt ends with a turn of assistant; expected user or tool"),
        ({"completion": C, "prompt": "z"}, "there are whole conversations beside the prompt, and it is not what"),
    ],
)
def test_a_labelled_answer_without_a_question_is_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow) as caught:
        content(values | {"label": True}, "unpaired_preference")
    assert caught.value.detail.startswith(message)


PROMPTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "q"}, {}),
    ({"prompt": [user("q")], "answer": "4", "solution": "2+2=4"}, {"answer": "4"}),
    ({"prompt": "q", "solution": "4"}, {"answer": "4"}),
    ({"prompt": "q", "answer": 4}, {"answer": "4"}),
    ({"prompt": "q", "answer": 0.5, "tests": None, "extra": ""}, {"answer": "0.5"}),
    ({"prompt": "q", "tests": ["a", "b"], "entry_point": "f"}, {"tests": "a\nb", "entry_point": "f"}),
    ({"prompt": "q", "tests": '["a", "b"]'}, {"tests": "a\nb"}),
    ({"prompt": "q", "tests": "assert f()"}, {"tests": "assert f()"}),
    ({"prompt": "q", "tests": [{"input": [1], "output": 2}]}, {"tests": '[{"input": [1], "output": 2}]'}),
    ({"prompt": "q", "tests": '[{"input": [1], "output": 2}]'}, {"tests": '[{"input": [1], "output": 2}]'}),
    ({"prompt": "q", "extra": {"level": 3}}, {"extra": {"level": 3}}),
    ({"prompt": "q", "tools": [TOOL]}, {"tools": [TOOL]}),
]


@pytest.mark.parametrize(("values", "more"), PROMPTS)
def test_a_prompt_has_what_rewards_read(values: dict[str, Any], more: dict[str, Any]) -> None:
    assert recognised(values) == "prompt_only"
    assert content(values) == {"prompt": [user("q")], **more}


def test_further_columns_are_kept_beside_a_prompt() -> None:
    values = {"prompt": "q", "level": [1, {"x": None}], "source_id": "7", "extra": {"a": 1}}
    shape = recognise(values, "auto", {}, ["level", "source_id"])
    assert shape is not None
    assert shape.content(values)["extra"] == {"a": 1, "level": [1, {"x": None}], "source_id": "7"}
    assert shape.content({"prompt": "q"}) == {"prompt": [user("q")]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": [user("q"), assistant("a")]}, "the prompt ends with a turn of assistant; expected user or tool"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "q", "answer": True}, "answer is true or false, not text"),
        ({"prompt": "q", "answer": float("inf")}, "answer holds a number, which JSON has not"),
        ({"prompt": "q", "tests": [1]}, "tests[0] is a number, not text"),
        ({"prompt": "q", "tests": [{"input": "a"}, "assert f"]}, "tests[0] is an object, not text"),
        ({"prompt": "q", "tests": "[1"}, "tests is not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"),
        ({"prompt": "q", "extra": [1]}, "extra is a list, not an object"),
        ({"prompt": "q", "extra": {"x": object()}}, "extra holds a object, which JSON has not"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow) as caught:
        content(values, "prompt_only")
    assert caught.value.detail == message


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        (PAIRS["texts"], "preference", "columns chosen, rejected, prompt"),
        (PAIRS["a question"], "preference", "columns chosen, rejected, question"),
        (
            PAIRS["Ultrafeedback"],
            "preference",
            "columns chosen, rejected, prompt; they fit messages too: format: messages reads them so",
        ),
        (
            {"prompt": "q", "completion": "a", "label": 1},
            "unpaired_preference",
            "columns completion, label, prompt; they fit prompt_completion too: format: prompt_completion reads "
            "them so",
        ),
        ({"messages": C, "tools": []}, "messages", "column messages, turns with 'role'"),
    ],
)
def test_what_was_recognised_is_told_with_what_it_could_be_too(values: dict[str, Any], name: str, why: str) -> None:
    shape = recognise(values, "auto", {})
    assert shape is not None
    assert (shape.name, shape.why, shape.doubtful) == (name, why, "too" in why or "question" in why)
