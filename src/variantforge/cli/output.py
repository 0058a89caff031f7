"""Where a command's words go: facts to stdout, as text or as one JSON document; everything else to stderr.

Quiet by nature: colour only on a terminal (``NO_COLOR`` and ``FORCE_COLOR`` are honoured), lines are wrapped only
where a width is known (a terminal, or ``COLUMNS``), and a reader that goes away (``vf plan | head``) ends the
talking, not the work. Control characters that a file or a library smuggles into a message never reach the terminal.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from variantforge.errors import SpecError, VariantforgeError

Stream = Literal["stdout", "stderr"]
Cell = str | tuple[str, str]  # text, or (text, style)

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# Words carry the meaning; colour only helps the eye.
_WORDS = {
    "dim": ("reuse", "reused"),
    "green": ("done", "ok", "pass"),
    "yellow": ("run", "not run", "stopped", "interrupted", "missing", "gone", "not enough data"),
    "red": ("blocked", "refused", "failed", "wrong", "fail"),
}
_STYLE_OF = {word: style for style, words in _WORDS.items() for word in words}
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_NARROWEST = 20


class Output:
    """One command's voice. ``program`` and ``argv`` are what the user typed, for the commands we suggest."""

    def __init__(self, argv: Sequence[str] = (), program: str = "vf") -> None:
        self.argv, self.program = list(argv), program
        self.as_json = "--json" in self.argv
        self._json_told = False
        self._gone: set[Stream] = set()
        self._coloured: dict[Stream, bool] = {}

    def command(self, *words: object) -> str:
        """A command line to paste: the program as the user typed it, and the words, quoted."""
        return shlex.join([self.program, *map(str, words)])

    @property
    def same_command(self) -> str:
        return self.command(*self.argv)

    @property
    def width(self) -> int | None:
        """Columns to keep to, or None where nobody looks."""
        columns = os.environ.get("COLUMNS", "")
        if columns.isdigit() and int(columns):
            return int(columns)
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def line(self, *cells: Cell) -> None:
        """One line to stdout; nothing when JSON was asked for."""
        self._say(" ".join(self.painted(cell) for cell in cells))

    def text(self, cells: Sequence[Cell]) -> None:
        """Cells one right after the other, with the line ends that are in them; nothing when JSON was asked for."""
        self._say("".join(self.painted(cell) for cell in cells))

    def table(self, rows: Sequence[Sequence[Cell]], *, indent: int = 2, right: Sequence[int] = ()) -> None:
        """Columns padded to their widest cell, the last one wrapped under itself; ``right`` names columns set right."""
        texts = [[_text(cell) for cell in row] for row in rows]
        coloured = self.coloured("stdout")
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)][:-1]
        room = max(self.width - indent - sum(widths) - 2 * len(widths), _NARROWEST) if self.width else None
        margin = " " * (indent + sum(widths) + 2 * len(widths))
        lines: list[str] = []
        for row, told in zip(rows, texts, strict=True):
            lead = " " * indent
            for position, width in enumerate(widths):
                cell = self.painted(row[position]) if coloured else told[position]
                gap = " " * (width - len(told[position]))
                lead += (gap + cell if position in right else cell + gap) + "  "
            for part in _wrapped(told[-1], room):
                lines.append((lead + (self.painted((part, _style(row[-1]))) if coloured else part)).rstrip())
                lead = margin
        if lines:
            self._say("\n".join(lines))  # at once: a plan may have thousands of lines

    def json(self, document: Mapping[str, Any] | Sequence[Any]) -> None:
        """The command's one JSON document."""
        self._json_told = True
        self._write("stdout", json.dumps(document, indent=2, ensure_ascii=False))

    def note(self, *cells: Cell) -> None:
        """A line for the person at the terminal, not for a program: to stderr."""
        self._write("stderr", " ".join(self.painted(cell, "stderr") for cell in cells))

    def error(self, error: VariantforgeError) -> None:
        """The letter: ``error: what``, why indented, ``next: what to type``.

        With ``--json`` the same as ``{"error": ...}`` on stdout, unless the command's own document already tells it.
        """
        if self.as_json and not self._json_told:
            self.json({"error": error_document(error)})
        what, why = error.what, error.why
        if isinstance(error, SpecError):
            self.note(what)
            what, why = why, ""
        first, *more = what.splitlines() or [type(error).__name__]
        self.note(("error:", "red"), first)
        for text in (*more, *why.splitlines()):
            self.note(f"  {text}")
        if error.next:
            self.note(("next:", "cyan"), error.next)

    def is_terminal(self, stream: Stream) -> bool:
        return bool(getattr(sys, stream).isatty()) and os.environ.get("TERM") != "dumb"

    def coloured(self, stream: Stream) -> bool:
        if stream not in self._coloured:
            self._coloured[stream] = self._wants_colour(stream)
        return self._coloured[stream]

    def _wants_colour(self, stream: Stream) -> bool:
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or self.is_terminal(stream)

    def painted(self, cell: Cell, stream: Stream = "stdout") -> str:
        """A cell's text, in its colour where there is colour."""
        text, style = _text(cell), _style(cell)
        code = _CODES.get(_STYLE_OF.get(style, style), "")
        return f"\x1b[{code}m{text}\x1b[0m" if code and text and self.coloured(stream) else text

    def _say(self, painted: str) -> None:
        if not self.as_json:
            self._write("stdout", painted)

    def _write(self, stream: Stream, text: str) -> None:
        if stream in self._gone:
            return
        file = getattr(sys, stream)
        try:
            file.write(text + "\n")
            file.flush()
        except BrokenPipeError:
            self._gone.add(stream)
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # what is still buffered must not fail at exit


def error_document(error: VariantforgeError) -> dict[str, Any]:
    """An error as ``{kind, what, why, next, exit_code}``; a family file's problems also one by one."""
    document: dict[str, Any] = {
        "kind": type(error).__name__,
        "what": error.what,
        "why": error.why,
        "next": error.next,
        "exit_code": error.exit_code,
    }
    if isinstance(error, SpecError):
        document["problems"] = [vars(problem) for problem in error.problems]
    return document


def _text(cell: Cell) -> str:
    text = cell[0] if isinstance(cell, tuple) else cell
    return text if text.isprintable() else text.translate(_CONTROL)


def _style(cell: Cell) -> str:
    return cell[1] if isinstance(cell, tuple) else ""


def _wrapped(text: str, room: int | None) -> list[str]:
    lines = text.splitlines()
    if room is not None:
        lines = [part for line in lines for part in textwrap.wrap(line, room) or [""]]
    return lines or [""]
