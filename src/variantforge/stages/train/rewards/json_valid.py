"""1 where the answer is JSON (of a schema, where one is given), else 0."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from variantforge.spec.family import Section
from variantforge.stages.train.rewards.reward import Answer, Plain, Score

if TYPE_CHECKING:
    from variantforge.step import Pin

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?```", re.DOTALL)


class JsonValidParams(Section):
    json_schema: dict[str, Any] | None = Field(
        None, alias="schema", description="a JSON Schema (draft 2020-12, or what its $schema says)"
    )
    fenced: bool = Field(False, description="read the last ```json block where there is one, else the whole answer")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        if find_spec("jsonschema") is None:
            raise ValueError("schemas need the package jsonschema: pip install 'variantforge[rewards]'")
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(value, default=_default()).check_schema(value)
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message}") from None
        return value


class JsonValid(Plain):
    Params = JsonValidParams

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        super().__init__(params, pins)
        self._validator: Any = None
        if params.json_schema is not None:
            from jsonschema.validators import validator_for
            from referencing import Registry

            kind = validator_for(params.json_schema, default=_default())
            self._validator = kind(params.json_schema, registry=Registry())  # nothing is fetched for a $ref

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        return [self._one(answer.text) for answer in answers]

    def _one(self, text: str) -> Score:
        blocks = _FENCE.findall(text) if self.params.fenced else []
        try:
            value = json.loads(blocks[-1] if blocks else text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return Score(0.0, "no JSON")
        if self._validator is not None and not self._validator.is_valid(value):
            return Score(0.0, "not of the schema")
        return Score(1.0)


def _refuse(name: str) -> Any:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(name)


def _default() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator
