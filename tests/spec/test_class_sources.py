from __future__ import annotations

import sys
from pathlib import Path

import pytest

from variantforge.spec.class_sources import Field, SourceMissing, Sources

FILES = {
    "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .config import Child as Config\n",
    "config.py": (
        "from dataclasses import dataclass, field\nfrom typing import ClassVar, Literal, Optional, Union\nimport enum\n"
        "from .parts import Mixin\nfrom .deep.more import Colour, Parent\n"
        "from abc import ABC\nfrom typing import Generic, TypeVar\nT = TypeVar('T')\nAlias = int\n"
        "@dataclass\nclass Child(Mixin, Parent, ABC, Generic[T]):\n"
        "    plain = 3\n    KNOWN: ClassVar[list[str]] = []\n"
        "    a: Optional[int] = None\n    b: Union[str, list[str], None] = None\n    c: Colour | str = 'red'\n"
        "    d: Literal['x', 'y'] = 'x'\n    e: 'dict[str, int] | None' = None\n    f: Mixin | None = None\n"
        "    g: str = field(default='p', metadata={'choices': ['p', 'q']})\n    both: float = 1.0\n"
        "    h: Alias = 1\n"
        "class Odd(parts.Mixin):\n    o: int = 1\n"
    ),
    "parts.py": "class Mixin:\n    m: bool = False\n    both: int = 1\n",
    "deep/__init__.py": "",
    "deep/more.py": (
        "import enum\ntry:\n    from ..parts import Mixin\nexcept ImportError:\n    pass\n"
        "class Colour(enum.Enum):\n    RED = 'red'\n    BLUE = 'blue'\n"
        "class Parent(object):\n    p: int = 1\n    both: str = ''\n"
    ),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, text in FILES.items():
        path = tmp_path / "plainly_named" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "plainly_named"


def test_fields_are_followed_through_reexports_parents_and_mixins(package: str) -> None:
    fields = Sources().fields(package, "Config")
    assert list(fields) == ["p", "both", "m", "a", "b", "c", "d", "e", "f", "g", "h"]
    assert fields["both"].text == "float"
    assert package not in sys.modules


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("p", Field("int", ("int",))),
        ("a", Field("Optional[int]", ("int", "none"))),
        ("b", Field("Union[str, list[str], None]", ("str", "list[str]", "none"))),
        ("c", Field("Colour | str", ("str",), ("red", "blue"))),
        ("d", Field("Literal['x', 'y']", ("str",), ("x", "y"))),
        ("e", Field("'dict[str, int] | None'", ("dict", "none"))),
        ("f", Field("Mixin | None", ("object", "none"))),
        ("g", Field("str", ("str",), ("p", "q"))),
        ("h", Field("Alias", ("any",))),
    ],
)
def test_annotations_are_understood(name: str, field: Field, package: str) -> None:
    assert Sources().fields(package, "Config")[name] == field


def test_every_file_that_was_read_is_remembered(package: str) -> None:
    sources = Sources()
    sources.fields(package, "Config")
    assert {path.name for path in sources.files} == {"__init__.py", "config.py", "parts.py", "more.py"}


@pytest.mark.parametrize(
    ("module", "name"),
    [("plainly_named", "Nobody"), ("no_such_package_at_all", "Config"), ("plainly_named.config", "Odd")],
)
def test_what_is_not_there_is_told(module: str, name: str, package: str) -> None:
    with pytest.raises(SourceMissing):
        Sources().fields(module, name)
