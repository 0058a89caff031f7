"""What a subject is asked, and how its answer becomes a program.

``completion`` (base models, after Chen et al. 2021): the subject goes on from the prompt; the program is the prompt
and what follows it, up to the next statement at the left margin.

``chat`` (instruct models): the program is taken from the answer's fenced blocks of Python, as ``program`` says.
"""

from __future__ import annotations

import re
from textwrap import dedent

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.answers import Answer, Prompt
from variantforge.stages.evaluate.code.items import Item
from variantforge.stages.evaluate.code.params import HUMANEVAL

# Where a function that is being written is over (Chen et al. 2021, section 2.2).
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
_ASKED = (
    "Complete the following Python function. Answer with one fenced code block that holds the whole function, "
    "with the imports it needs.\n\n```python\n{prompt}\n```"
)
_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("", "python", "py", "python3", "python2")


def prompt_of(item: Item, mode: str) -> Prompt:
    """Raises EvaluateError for a chat that is to be completed."""
    if mode == "completion":
        if item.messages:
            raise EvaluateError(
                f"problem {item.id} is a chat, which cannot be gone on from as a text",
                next="write mode: chat, or give the problem a 'prompt'",
            )
        return Prompt(item.id, text=item.prompt)
    if item.messages:
        return Prompt(item.id, item.messages)
    text = _ASKED.format(prompt=item.prompt.strip("\n")) if item.suite == HUMANEVAL else item.prompt
    return Prompt(item.id, [{"role": "user", "content": text}])


def program_of(item: Item, answer: Answer, mode: str) -> str:
    """The program that an answer is graded as."""
    if mode == "completion":
        return item.prompt + answer.text
    return program(str(answer.message["content"]), item.prompt, item.entry_point)


def program(text: str, prompt: str, entry_point: str) -> str:
    """Of several blocks of Python the last that defines ``entry_point``, else the last; of none, the whole answer.

    What stands in the prompt before the entry point (imports, other functions) comes first: answers often leave it
    out. A block that does not define the entry point of a prompt that begins it is taken as its body.
    """
    blocks = [dedent(code) for language, code in _FENCE.findall(text) if language.lower() in _PYTHON]
    defining = [block for block in blocks if _defines(block, entry_point)]
    code = (defining or blocks or [text])[-1]
    begun = re.search(rf"^(async )?def {re.escape(entry_point)}\b", prompt, re.MULTILINE) if entry_point else None
    if not begun:
        return code
    if _defines(code, entry_point):
        return prompt[: begun.start()] + "\n" + code
    return prompt.rstrip() + "\n" + _indented(code)


def _defines(code: str, name: str) -> bool:
    return bool(name) and bool(
        re.search(rf"^(async )?(def|class) {re.escape(name)}\b|^{re.escape(name)}\s*=", code, re.M)
    )


def _indented(code: str) -> str:
    lines = dedent(code).strip("\n").split("\n")
    return "".join(f"    {line}\n" if line.strip() else "\n" for line in lines)
