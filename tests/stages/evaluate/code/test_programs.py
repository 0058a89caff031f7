"""How an answer becomes a program."""

from __future__ import annotations

from typing import Any

import pytest

from variantforge.errors import EvaluateError
from variantforge.sandbox import read_tests
from variantforge.stages.evaluate.answers import Answer
from variantforge.stages.evaluate.code.items import Item
from variantforge.stages.evaluate.code.programs import program, program_of, prompt_of

PROMPT = (
    'from typing import List\n\ndef half(x):\n    return x / 2\n\ndef total(xs: List[int]) -> int:\n    """Sum."""\n'
)
BEFORE = "from typing import List\n\ndef half(x):\n    return x / 2\n\n\n"
WHOLE = "def total(xs):\n    return sum(xs)\n"


def item(**changed: Any) -> Item:
    tests = read_tests(["assert total([1]) == 1"])
    told = {"id": "t", "suite": "humaneval", "prompt": PROMPT, "messages": (), "tests": tests, "entry_point": "total"}
    return Item(**{**told, **changed})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(f"Sure:\n```python\n{WHOLE}```\nDone.", BEFORE + WHOLE, id="a block"),
        pytest.param(f"```\n{WHOLE}```", BEFORE + WHOLE, id="a block of no language"),
        pytest.param(f"```Python3 title=x\n{WHOLE}", BEFORE + WHOLE, id="a block that was cut"),
        pytest.param(
            f"```python\n{WHOLE}```\nTry it:\n```python\nprint(total([1]))\n```", BEFORE + WHOLE, id="an example after"
        ),
        pytest.param(
            f"```python\ndef total(xs): pass\n```\nBetter:\n```python\n{WHOLE}```", BEFORE + WHOLE, id="the last of two"
        ),
        pytest.param(f"```bash\npip install x\n```\n```python\n{WHOLE}```", BEFORE + WHOLE, id="another language"),
        pytest.param("1. Do\n   ```python\n   def total(xs):\n       return 1\n   ```",
                     BEFORE + "def total(xs):\n    return 1\n", id="an indented block"),
        pytest.param(WHOLE, BEFORE + WHOLE, id="no block"),
        pytest.param("```python\n    return sum(xs)\n```", PROMPT + "    return sum(xs)\n", id="a body"),
        pytest.param("```python\nreturn sum(xs)\n```", PROMPT + "    return sum(xs)\n", id="a body at the margin"),
        pytest.param("```python\ntotal = sum\n```", BEFORE + "total = sum\n", id="a name"),
        pytest.param("I cannot.", PROMPT + "    I cannot.\n", id="no program"),
    ],
)  # fmt: skip
def test_the_program_of_a_chat_answer(answer: str, expected: str) -> None:
    assert program(answer, PROMPT, "total") == expected


def test_a_problem_in_words_takes_the_last_block_as_it_is() -> None:
    answer = "```python\na = 1\n```\n```python\nb = 2\n```"
    assert program(answer, "Write a program.", "") == "b = 2\n"
    assert program(answer, "Write total.", "total") == "b = 2\n"
    assert program(f"{answer}\n```python\n{WHOLE}```\n```python\nprint(1)\n```", "Write total.", "total") == WHOLE


def test_what_was_thought_is_no_part_of_the_program() -> None:
    text = f"<think>\n```python\ndef total(xs): pass\n```\n</think>\n```python\n{WHOLE}```"
    assert program_of(item(), Answer(text, 9, "stop"), "chat") == BEFORE + WHOLE


def test_a_completion_is_gone_on_from() -> None:
    assert prompt_of(item(), "completion").text == PROMPT
    assert program_of(item(), Answer("    return 1", 3, "stop"), "completion") == PROMPT + "    return 1"
    with pytest.raises(EvaluateError, match="problem t is a chat"):
        prompt_of(item(prompt="", messages=({"role": "user", "content": "Hi"},)), "completion")


def test_what_a_chat_is_asked() -> None:
    (asked,) = prompt_of(item(), "chat").messages
    assert f"```python\n{PROMPT}```" in asked["content"]
    assert prompt_of(item(suite="file"), "chat").messages == [{"role": "user", "content": PROMPT}]
    own = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    assert prompt_of(item(messages=own, prompt=""), "chat").messages == own
