"""Rows mined from real code: which functions, cut out how, and nothing run."""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.workbench import Workbench, rows_of
from variantforge.stages.data import python_files
from variantforge.stages.data.functions import Unfit, cut_out, functions
from variantforge.step import Artifact

GOOD = '''
import os

# A comment above the function is not part of it.
@cached(size=3)
def area(width: int, height: int = 2, *, unit="m") -> str:
    """Work out the area of a rectangle.

        indented = "example"
    """

    # the product
    size = width * height

    return f"{size}{unit}²"[:-1]


class Shape:
    """A class is not mined."""

    @property
    async def name(self):
        """The name of this shape."""
        if self._name:
            return self._name
        return type(self).__name__

    class Inner:
        def corners(self, count):
            r"""How many corners\\\\ there are."""
            total = count
            return total + 1


if os.name == "posix":
    def on_posix(path):
        """Only there on posix systems."""
        path = str(path)
        return path
'''.replace("²", "2")


def mine(folder: Path, source: str | None = None, **section: Any) -> Artifact:
    """Rows mined from ``folder``, after writing ``source`` into it."""
    (folder / "src").mkdir(exist_ok=True)
    if source is not None:
        (folder / "src" / "module.py").write_text(source)
    dataset = {"source": "python_source", "folder": "./src", **section}
    bench = Workbench(folder, {"d": dataset}, evaluate={}).plan()
    assert bench.problems == []
    return bench.rows()


def answers(artifact: Artifact) -> dict[str, str]:
    """Question's code -> answer."""
    found = {}
    for row in rows_of(artifact):
        question, answer = (message["content"] for message in row["messages"])
        found[question.partition("```python\n")[2].removesuffix("\n```")] = answer
    return found


def test_write_function_asks_with_the_docstring_and_answers_without(tmp_path: Path) -> None:
    found = answers(mine(tmp_path, GOOD))
    assert len(found) == 4
    asked = next(question for question in found if "area" in question)
    assert asked == textwrap.dedent('''\
        @cached(size=3)
        def area(width: int, height: int = 2, *, unit="m") -> str:
            """Work out the area of a rectangle.

                indented = "example"
            """''')
    assert found[asked] == textwrap.dedent("""\
        ```python
        @cached(size=3)
        def area(width: int, height: int = 2, *, unit="m") -> str:
            # the product
            size = width * height

            return f"{size}{unit}2"[:-1]
        ```""")


def test_explain_function_shows_the_code_and_answers_with_the_clean_docstring(tmp_path: Path) -> None:
    found = answers(mine(tmp_path, GOOD, task="explain_function"))
    [area] = [answer for code, answer in found.items() if "area" in code]
    assert area == 'Work out the area of a rectangle.\n\nindented = "example"'
    assert all('"""' not in code for code in found)


def test_methods_are_taken_with_their_class_and_decorators(tmp_path: Path) -> None:
    rows = rows_of(mine(tmp_path, GOOD))
    [method] = [row["messages"][0]["content"] for row in rows if "async def name" in row["messages"][0]["content"]]
    assert "this method of the Python class Shape" in method.splitlines()[0]
    assert '@property\nasync def name(self):\n    """The name of this shape."""' in method
    assert any("class Inner" in row["messages"][0]["content"] for row in rows)


FUNCTION = '''
def first(a, b):
    """Add a and b up."""
    total = a + b
    return total
'''


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(a):\n    total = a\n    return total\n", "no docstring"),
        ('def f(a):\n    """Two words."""\n    total = a\n    return total\n', "docstring says too little"),
        ('def f(a):\n    """>>> f(1) is one\n    1"""\n    total = a\n    return total\n', "docstring says too little"),
        (f'def f(a):\n    """{"many words " * 200}"""\n    total = a\n    return total\n', "docstring too long"),
        ('def f(a):\n    """Do the thing well."""\n', "stub, or only delegates"),
        (
            'def f(a):\n    """Do the thing well."""\n    raise NotImplementedError(\n        a)\n',
            "stub, or only delegates",
        ),
        ('def f(a):\n    """Do the thing well."""\n    return g(\n        a)\n', "stub, or only delegates"),
        ('def f(a):\n    """Do the thing well."""\n    return a + 1\n', "body too short or too long"),
        ('def f(a):\n    """Do the thing well."""\n' + "    a += 1\n" * 41, "body too short or too long"),
        (
            'def f(a):\n    """Do the thing well."""; b = a\n    c = b\n    return c\n',
            "docstring shares a line with code",
        ),
        ('def f(a): """Do the thing well."""; b = a\n', "docstring shares a line with code"),
        (f'def f(a):\n    """Do the thing well."""\n    b = a + {"1 + " * 40}1\n    return b\n', "overlong lines"),
        ('def f(a):\n    """Do the thing well."""\n    b = "ü"\n    return b\n', "not plain ASCII"),
        (
            'class A:\n    def f(self):\n        """Do the thing well."""\n        b = """\n  x"""\n        return b\n',
            "changes when taken out of its module",
        ),
        (FUNCTION + FUNCTION.replace("first", "other").replace("Add", "Sum"), "like another function"),
    ],
)
def test_a_function_that_teaches_nothing_is_left_out_and_counted(tmp_path: Path, source: str, why: str) -> None:
    artifact = mine(tmp_path, GOOD + source)
    assert artifact.facts["left_out"].get(why) == 1, artifact.facts


def test_bounds_count_the_body_without_its_docstring(tmp_path: Path) -> None:
    assert len(rows_of(mine(tmp_path, FUNCTION, min_lines=2, max_lines=2))) == 1
    with pytest.raises(Exception, match="empty dataset"):
        mine(tmp_path, FUNCTION, min_lines=3)


def test_nothing_is_imported_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n"
    package = tmp_path / "site" / "trapped" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(trap)
    (package / "__init__.py").write_text(trap)
    (package / "module.py").write_text(trap + FUNCTION)
    monkeypatch.syspath_prepend(tmp_path / "site")
    dataset = {"source": "python_source", "packages": ["trapped.inner"]}
    bench = Workbench(tmp_path, {"d": dataset}, evaluate={}).plan()
    assert len(rows_of(bench.rows())) == 1
    assert not (tmp_path / "ran").exists()
    assert "trapped" not in sys.modules


def test_tests_hidden_folders_and_bundled_copies_are_not_mined(tmp_path: Path) -> None:
    for name in ("tests/a.py", "test_b.py", "c_test.py", "conftest.py", ".venv/d.py", "_vendor/e.py", "pkg/good.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(FUNCTION)
    assert python_files.of_folder(tmp_path) == [tmp_path / "pkg/good.py"]


def test_a_file_that_does_not_parse_is_counted_and_the_others_are_mined(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "broken.py").write_text("print 'python 2'\n")
    (tmp_path / "src" / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "src" / "windows.py").write_bytes(FUNCTION.replace("\n", "\r\n").encode())
    artifact = mine(tmp_path)
    assert artifact.facts["left_out"] == {"file does not parse": 2}
    assert "\r" not in rows_of(artifact)[0]["messages"][1]["content"]


def test_packages_are_found_by_path_modules_and_parts_of_packages_too() -> None:
    assert {path.name for path in python_files.of_package("json")} >= {"__init__.py", "decoder.py", "encoder.py"}
    assert [path.name for path in python_files.of_package("textwrap")] == ["textwrap.py"]
    assert all("/email/mime/" in path.as_posix() for path in python_files.of_package("email.mime"))
    assert python_files.of_package("pytest")
    assert python_files.of_package("json.nothing") == []


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("emial", "no package 'emial' is installed. Did you mean 'email'?"),
        ("pytset", "no package 'pytset' is installed. Did you mean 'pytest'?"),
        ("sys", "'sys' has no Python source (it is compiled, or part of another module)"),
        ("json.decodr", "'json.decodr' has no Python source (it is compiled, or part of another module)"),
    ],
)
def test_a_package_that_is_not_there_is_a_problem(tmp_path: Path, package: str, text: str) -> None:
    bench = Workbench(tmp_path, {"d": {"source": "python_source", "packages": ["json", package]}}).plan()
    assert bench.problems == [("datasets.d.packages[1]", text)]


def test_the_standard_library_gives_whole_functions_only() -> None:
    """Every snippet of real packages parses, asks with its docstring, and answers without one."""
    count = 0
    for path in python_files.of_package("json") + python_files.of_package("logging"):
        source = path.read_text()
        for function, owner in functions(ast.parse(source)):
            try:
                snippet = cut_out(function, owner, source, min_lines=2, max_lines=40)
            except Unfit:
                continue
            [asked], [code] = ast.parse(snippet.asked).body, ast.parse(snippet.code).body
            assert ast.get_docstring(asked) == snippet.docstring  # type: ignore[arg-type]
            assert ast.get_docstring(code) != snippet.docstring  # type: ignore[arg-type]
            count += 1
    assert count > 50


def test_mining_twice_gives_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, two = (mine(tmp_path / part, packages=["json", "textwrap"], source=FUNCTION) for part in "12")
    assert one.key == two.key
    assert (one.path / "train.jsonl").read_bytes() == (two.path / "train.jsonl").read_bytes()


def test_the_places_of_packages_on_this_machine_are_no_part_of_the_key(tmp_path: Path) -> None:
    dataset = {"source": "python_source", "packages": ["json", "pytest"]}
    step = Workbench(tmp_path, {"d": dataset}).plan().step("d")
    assert sorted(step.pins) == ["package:json", "package:pytest"]
    assert sys.prefix not in str(step.identity)
