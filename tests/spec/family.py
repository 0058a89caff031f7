"""The smallest family file, and reading one from text."""

from __future__ import annotations

from pathlib import Path

from variantforge.errors import SpecError
from variantforge.spec.load import FamilyFile, load_family

SMALL = """\
family: small
base: {model: ./base}
datasets:
  pairs: {path: ./pairs.jsonl}
variants:
  code: {kind: code, data: {mix: {pairs: 1.0}}}
"""


def load(folder: Path, text: str | bytes) -> FamilyFile:
    path = folder / "family.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_family(path)


def told(folder: Path, text: str | bytes) -> list[str]:
    """The problems of a file: "17:5  key  sentence"."""
    try:
        load(folder, text)
    except SpecError as error:
        return [str(problem).removeprefix(f"{folder / 'family.yaml'}:") for problem in error.problems]
    return []
