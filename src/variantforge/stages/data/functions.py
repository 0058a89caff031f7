"""Functions taken out of a module's source as texts that stand on their own: nothing is imported or run."""

from __future__ import annotations

import ast
import copy
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from variantforge.hashing import text_digest

Function = ast.FunctionDef | ast.AsyncFunctionDef
MIN_DOC_WORDS, MAX_DOC_CHARACTERS, MAX_COLUMNS = 3, 1000, 120


class Unfit(Exception):
    """Why a function makes no row."""


@dataclass(frozen=True)
class Snippet:
    """``asked`` is signature and docstring, ``code`` all but the docstring; ``owner`` the class of a method ('')."""

    owner: str
    asked: str
    code: str
    docstring: str

    @property
    def likeness(self) -> str:
        """Equal for functions that differ in name, docstring and layout only."""
        tree = ast.parse(self.code).body[0]
        assert isinstance(tree, Function)
        tree.name = ""
        return text_digest(ast.dump(tree))


def parse(path: Path) -> tuple[str, ast.Module] | None:
    """Source and tree of a file; None when this Python cannot read it."""
    try:
        source = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode().replace("\r\n", "\n").replace("\r", "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in foreign code is not ours to tell
            return source, ast.parse(source)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def functions(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    """Functions of the module and methods of its classes, each with its class's name (''), in source order."""
    todo: list[tuple[ast.stmt, str]] = [(node, "") for node in reversed(tree.body)]
    while todo:
        node, owner = todo.pop()
        if isinstance(node, Function):
            yield node, owner
        elif isinstance(node, ast.ClassDef):
            todo += [(child, node.name) for child in reversed(node.body)]
        elif isinstance(node, ast.If | ast.Try):
            todo += [(child, owner) for child in reversed(node.body)]


def cut_out(function: Function, owner: str, source: str, *, min_lines: int, max_lines: int) -> Snippet:
    """Raises Unfit when the function is not one to learn from; ``min_lines`` and ``max_lines`` bound its body."""
    docstring = _docstring(function)
    if _is_trivial(function.body[1:]):
        raise Unfit("stub, or only delegates")
    head, doc, body = _parts(function, source.split("\n"))
    if not min_lines <= sum(1 for line in body if line.strip()) <= max_lines:
        raise Unfit("body too short or too long")
    code, asked = (textwrap.dedent("\n".join(lines)) for lines in (head + body, head + doc))
    if max(len(line) for line in (asked + code).split("\n")) > MAX_COLUMNS:
        raise Unfit("overlong lines")
    if not all(" " <= character <= "~" or character == "\n" for character in asked + code):
        raise Unfit("not plain ASCII")
    if not _is_whole(code, function):
        raise Unfit("changes when taken out of its module")
    return Snippet(owner, asked, code, docstring)


def _docstring(function: Function) -> str:
    docstring = ast.get_docstring(function) or ""
    if not docstring:
        raise Unfit("no docstring")
    if len(docstring.split()) < MIN_DOC_WORDS or docstring.startswith(">>>"):
        raise Unfit("docstring says too little")
    if len(docstring) > MAX_DOC_CHARACTERS:
        raise Unfit("docstring too long")
    return docstring


def _is_trivial(body: list[ast.stmt]) -> bool:
    """Nothing to learn: ``pass``, ``...``, ``raise NotImplementedError``, or one call handed on."""
    if len(body) != 1:
        return not body
    match body[0]:
        case ast.Pass() | ast.Raise() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Return(value=ast.Call() | ast.Constant() | ast.Name() | None) | ast.Expr(value=ast.Call()):
            return True
        case ast.Return(value=ast.Await(value=ast.Call())) | ast.Expr(value=ast.Await(value=ast.Call())):
            return True
    return False


def _parts(function: Function, lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Lines of the signature (decorators included), of the docstring, and of the body behind it."""
    doc = function.body[0]
    start = min([function.lineno, *(node.lineno for node in function.decorator_list)]) - 1
    end, doc_start, doc_end = function.end_lineno or 0, doc.lineno - 1, doc.end_lineno or 0
    alone = not lines[doc_start][: doc.col_offset].strip() and function.body[1].lineno > doc_end
    if not alone:
        raise Unfit("docstring shares a line with code")
    body = lines[doc_end:end]
    while body and not body[0].strip():
        body = body[1:]
    return lines[start:doc_start], lines[doc_start:doc_end], body


def _is_whole(code: str, function: Function) -> bool:
    """Whether the text parses on its own to the same function: a text over several lines may not survive dedenting."""
    bare = copy.copy(function)
    bare.body = function.body[1:]
    try:
        return ast.dump(ast.parse(code).body[0]) == ast.dump(bare)
    except SyntaxError:
        return False
