"""The JSON Schema of a family file, for editors: completion, descriptions on hover, typos underlined.

It says what the models say. What needs more than one key to be seen (names that must exist, circles), and TRL's
arguments, which depend on what is installed, are checked by ``variantforge check``.
"""

from __future__ import annotations

import json
from typing import Any

from variantforge.spec.family import FamilySpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAMES = ("properties", "$defs", "patternProperties")  # under these, keys are what users may write


def schema() -> dict[str, Any]:
    """The schema as JSON. The same for the same version of variantforge."""
    models = FamilySpec.model_json_schema(by_alias=True)
    tidy = _tidy({key: value for key, value in models.items() if key != "description"})
    title = "variantforge family"
    about = "A family of model variants: what is made of a base model, how good it must be, where it is published"
    return {"$schema": DIALECT, "title": title, "description": about, **tidy}


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Without what only serves the program: generated titles, the ``metadata`` mark, Python docstrings' line breaks.

    ``names`` says that the node's keys are names a user may write, not words of JSON Schema.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if names or key not in ("title", "metadata")}
    tidy = {key: value if key == "default" else _tidy(value, names=key in _NAMES) for key, value in kept.items()}
    if "patternProperties" in tidy and not names:
        tidy.setdefault("additionalProperties", False)  # a name is written as the pattern says, or refused
    if not names and isinstance(tidy.get("description"), str):
        tidy["description"] = " ".join(tidy["description"].split())
    return tidy


def schema_text() -> str:
    """What ``specs/schema.json`` holds."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
