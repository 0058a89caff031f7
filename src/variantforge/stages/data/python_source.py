"""Rows mined from real Python code: functions with docstrings become questions with answers.

    write_function     signature and docstring -> the function
    explain_function   the function without its docstring -> the docstring

Answers of ``write_function`` leave the docstring out: it stands in the question, and copying it would be most of what
is learned and measured. Of functions that differ in name and docstring only, the first is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.hashing import text_digest
from variantforge.spec.family import PythonSourceDataset
from variantforge.stages.data.functions import Snippet, Unfit, cut_out, functions, parse
from variantforge.stages.data.sources import Record
from variantforge.stages.data.split import rank
from variantforge.step import Pin

# A few ways to ask, so that not one wording alone is learned; the code's hash chooses.
QUESTIONS = {
    "write_function": (
        "Complete {what}. Answer with all of its code, without the docstring.",
        "Write the code of {what} from its signature and docstring. Leave the docstring out.",
        "Implement {what}. Give the whole definition; do not repeat the docstring.",
    ),
    "explain_function": (
        "What does {what} do? Answer as its docstring would.",
        "Write the docstring of {what}.",
        "Explain {what} the way its documentation does.",
    ),
}


def as_row(snippet: Snippet, task: str) -> dict[str, Any]:
    """The question and its answer, as ``messages``."""
    what = f"this method of the Python class {snippet.owner}" if snippet.owner else "this Python function"
    questions = QUESTIONS[task]
    question = questions[rank(task, text_digest(snippet.code)) % len(questions)].format(what=what)
    if task == "write_function":
        shown, answer = snippet.asked, _fenced(snippet.code)
    else:
        shown, answer = snippet.code, snippet.docstring
    user = {"role": "user", "content": f"{question}\n\n{_fenced(shown)}"}
    return {"messages": [user, {"role": "assistant", "content": answer}]}


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


class Mining:
    """Iterate once, for records whose values are content; then ``facts`` tells what was found and left out.

    ``files``: for each pin, the names under its ``at``.
    """

    def __init__(
        self, section: PythonSourceDataset, pins: Mapping[str, Pin], files: Mapping[str, Sequence[str]]
    ) -> None:
        self._section, self._pins, self._files = section, pins, files
        self._left_out: Counter[str] = Counter()
        self._functions = 0

    @property
    def facts(self) -> dict[str, Any]:
        left_out = dict(sorted(self._left_out.items()))
        return {"format": f"python_source {self._section.task}", "functions": self._functions, "left_out": left_out}

    def __iter__(self) -> Iterator[Record]:
        likenesses: set[str] = set()
        paths = [(role, file) for role in sorted(self._pins) for file in self._files[role]]
        for number, (role, file) in enumerate(paths, 1):
            for line, snippet in self._snippets(Path(self._pins[role].at, file)):
                likeness = snippet.likeness
                if likeness in likenesses:
                    self._left_out["like another function"] += 1
                    continue
                likenesses.add(likeness)
                yield Record(f"{role} {file}:{line}", as_row(snippet, self._section.task), number / len(paths))

    def _snippets(self, path: Path) -> Iterator[tuple[int, Snippet]]:
        parsed = parse(path)
        if parsed is None:
            self._left_out["file does not parse"] += 1
            return
        source, tree = parsed
        bounds = {"min_lines": self._section.min_lines, "max_lines": self._section.max_lines}
        for function, owner in functions(tree):
            self._functions += 1
            try:
                yield function.lineno, cut_out(function, owner, source, **bounds)
            except Unfit as unfit:
                self._left_out[str(unfit)] += 1
