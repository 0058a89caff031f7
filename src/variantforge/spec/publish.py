"""What a family file says of publishing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from variantforge.spec.forms import FORMS
from variantforge.spec.forms import Form as Form
from variantforge.spec.section import Section, metadata


class PublishSpec(Section):
    to: str = Field("folder", description="a row of PUBLISHERS")
    path: str = Field("./published", description="the folder to publish into, relative to the family file")
    namespace: str = Field("local", pattern=r"^[A-Za-z0-9][\w.-]*$", description="user or organisation on the Hub")
    repo: str = Field("{family}-{variant}", description="name of a repo; {family} and {variant} are filled in")
    artifacts: list[Form] = Field(list(FORMS), description="what to publish of each variant")
    collection: str | None = Field(None, description="title of the page that links the family")
    index: str = metadata(
        "{family}",
        description="repo on the Hub that holds the family page and release.json; {family} is filled in",
        pattern=r"^[A-Za-z0-9]*(\{family\})?[A-Za-z0-9._-]*$",
        min_length=1,
        max_length=96,
    )
    channel: Literal["stable", "candidate"] = metadata(
        "stable", description="where a release on the Hub becomes visible: branch main, or branch candidate"
    )
    visibility: Literal["public", "private"] = metadata("public", description="who sees the repos on the Hub")
    gated: Literal["no", "auto", "manual"] = metadata(
        "no", description="whether people must ask for access on the Hub, and who grants it"
    )
    license: str | None = metadata(None, description="what the models go out under; the base's licence by default")
    license_reason: str = metadata(
        "", description="why that licence may be chosen although share-alike or no-derivatives data is in it"
    )
    excluded_territories: list[Literal["EU", "UK", "KR", "US"]] = metadata(
        [], description="whose people get no access, where a base's licence ends there; wants gated: manual"
    )
    language: list[str] = Field(["en"], description="language codes for cards")
    tags: list[str] = Field([], description="further tags for cards")

    @field_validator("repo")
    @classmethod
    def _names_the_variant(cls, value: str) -> str:
        # never str.format on what was not looked at: '{variant:>2000000000}' is a valid format
        fixed = value.replace("{family}", "").replace("{variant}", "")
        if "{" in fixed or "}" in fixed:
            raise ValueError("only {family} and {variant} can be filled in")
        if not all(character.isascii() and (character.isalnum() or character in "._-") for character in fixed):
            raise ValueError("letters, digits, '.', '_' and '-' only, beside {family} and {variant}")
        return value
