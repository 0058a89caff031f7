"""One block of a family file, and what of it enters a key."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from variantforge.refs import Ref, unsafe_address

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Section(BaseModel):
    """One block of the file. Unknown keys are errors; nothing is converted behind the user's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """What of this section enters a key: every field that is not at its default and not ``metadata``.

        Leaving defaults out lets a new field arrive without moving old keys; a *changed* default
        therefore asks for a new version of the stage that reads it.
        """
        return self.model_dump(mode="json", include=_bytes_depend_on(type(self)), exclude_defaults=True, by_alias=True)


@cache
def _bytes_depend_on(section: type[Section]) -> set[str]:
    return {name for name, field in section.model_fields.items() if not is_metadata(field)}


def is_metadata(field: Any) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("metadata"))


def metadata(default: Any, *, description: str, **kwargs: Any) -> Any:
    """A field that never changes weights or rows."""
    return Field(default, description=description, json_schema_extra={"metadata": True}, **kwargs)


def base_ref(value: str) -> str:
    if Ref.parse(value).kind == "url":
        raise ValueError("a base is a Hub id, a local path or package:distribution/file: download it and name the file")
    return value


def endpoint_address(value: str) -> str:
    """The address of an OpenAI-compatible server, as a user may write it. Raises ValueError."""
    if unsafe_address(value) or "?" in value or "#" in value:
        raise ValueError("https://host/v1 is wanted: no name, password, ? or #; http:// for this machine alone")
    return value
