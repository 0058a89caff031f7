"""Python functions in a text, each in a form that is equal for functions that differ in names, comments, docstring,
annotations and layout only."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator

from variantforge.hashing import text_digest

Function = ast.FunctionDef | ast.AsyncFunctionDef
LEAST_NODES = 25  # of a function's tree without its signature: smaller ones, such as `return a + b`, are anybody's
_MOST_LINES = 400  # of one function
_MOST_FUNCTIONS = 200  # of one text
_DEF = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(", re.M)
_BUILTIN = frozenset(dir(builtins))


def forms_in(text: str) -> set[str]:
    """One digest for each function in the text that is large enough to be told from others."""
    return {form for source in _sources(text) if (form := _form(source))} if "def " in text else set()


def _sources(text: str) -> Iterator[str]:
    """Every ``def`` with the lines that belong to it by their indentation, wherever it stands: in prose, in a fence."""
    for number, match in enumerate(_DEF.finditer(text)):
        if number >= _MOST_FUNCTIONS:
            return
        lines = text[match.start() :].split("\n", _MOST_LINES)[:_MOST_LINES]
        yield textwrap.dedent("\n".join(_block(lines, len(match[1].expandtabs()))))


def _block(lines: list[str], indent: int) -> Iterator[str]:
    in_head = True  # a signature may go on over lines that stand anywhere
    for line in lines:
        depth = len(line.expandtabs()) - len(line.expandtabs().lstrip())
        if not in_head and line.strip() and depth <= indent:
            return
        yield line
        in_head = in_head and not line.split("#")[0].rstrip().endswith(":")


def _form(source: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a row is not ours to tell
            function = ast.parse(source).body[0]
        if not isinstance(function, Function):
            return None
        plain = _Plain().visit(function)
        body = [statement for statement in plain.body if not isinstance(statement, ast.Pass)]
        if sum(not isinstance(node, ast.expr_context) for part in body for node in ast.walk(part)) < LEAST_NODES:
            return None
        return text_digest(ast.dump(plain))
    except (SyntaxError, ValueError, IndexError, RecursionError, MemoryError):
        return None


class _Plain(ast.NodeTransformer):
    """Names by the order of their first use, builtins and attributes as they are; no docstrings, no annotations."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: Function) -> ast.AST:
        node.name, node.returns, node.decorator_list, node.type_comment = self._plain(node.name), None, [], None
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._plain(node.arg))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._plain(node.id), node.ctx)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return ast.keyword(node.arg, self.visit(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self.visit(ast.Assign([node.target], node.value)) if node.value else None

    def _plain(self, name: str) -> str:
        return name if name in _BUILTIN else self._names.setdefault(name, f"n{len(self._names)}")
