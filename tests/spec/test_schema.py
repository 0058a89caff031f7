from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.spec.family import SMALL
from variantforge.spec.schema import schema, schema_text
from variantforge.spec.yaml_events import read_yaml

SPECS = Path(__file__).parents[2] / "specs"


def errors(text: str) -> list[str]:
    root, complaints = read_yaml(text)
    assert root is not None
    assert complaints == []
    return [error.message for error in jsonschema.Draft202012Validator(schema()).iter_errors(root.value)]


def test_the_schema_beside_the_specs_is_fresh(golden: Callable[[Path, str], None]) -> None:
    golden(SPECS / "schema.json", schema_text())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_fits_the_schema(path: Path) -> None:
    assert errors(path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model:", "modle:"),
        ("kind: code", "kind: coder"),
        ("code: {", "Code Name: {"),
        ("{pairs: 1.0}", "{pairs: much}"),
        ("path: ./pairs.jsonl", "source: python_source, split: train"),
        ("family: small", "famly: small"),
    ],
)
def test_an_editor_underlines_what_would_be_refused(old: str, new: str) -> None:
    assert errors(SMALL) == []
    assert errors(SMALL.replace(old, new)) != []


def test_every_key_is_described_for_editors() -> None:
    def bare(node: object, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        own = [f"{path}.{key}" for key, sub in node.get("properties", {}).items() if "description" not in sub]
        return own + [found for key, sub in node.items() for found in bare(sub, f"{path}.{key}")]

    assert bare(schema(), "") == []
