"""Who judges, as a user writes it beside an evaluator."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from variantforge.refs import Ref
from variantforge.spec.section import Section, endpoint_address, metadata


class JudgeSpec(Section):
    """A model: ``{model: REF}``, or ``{endpoint: URL, model: NAME}``. It answers greedily, unless told otherwise."""

    model: str = Field(
        description="Hub id, ./folder, ./file.gguf or package:…gguf; with endpoint, the model's name there"
    )
    endpoint: str | None = Field(None, description="https://host/v1 of an OpenAI-compatible server (http: localhost)")
    max_tokens: int = Field(512, ge=1, description="longer judgements are cut off there, and cannot be read")
    temperature: float = Field(0.0, ge=0, le=2, description="0: always the likeliest token")
    seed: int = Field(0, ge=0, lt=1 << 31, description="another seed asks anew")
    unparsed_at_most: float = Field(
        0.05, ge=0, le=1, description="stop when a larger share of verdicts than this cannot be read"
    )
    api_key_env: str | None = metadata(
        None, description="environment variable that holds the endpoint's key", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"
    )
    requests_per_minute: float | None = metadata(None, description="ask an endpoint no faster", gt=0)
    concurrency: int = metadata(4, description="questions under way at an endpoint", ge=1, le=256)
    timeout_s: float = metadata(120.0, description="how long an answer of an endpoint may take", gt=0)

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        return value if value is None else endpoint_address(value)

    @model_validator(mode="after")
    def _is_one(self) -> JudgeSpec:
        if self.endpoint:
            return self
        if Ref.parse(self.model).kind == "url":
            raise ValueError("a judge is a Hub id, a local path or package:distribution/file; an address is 'endpoint'")
        if alone := sorted(self.model_fields_set & {"api_key_env", "requests_per_minute", "concurrency", "timeout_s"}):
            raise ValueError(f"'{alone[0]}' belongs to an endpoint")
        return self

    @property
    def name(self) -> str:
        """What people know it by; no path of this machine."""
        if self.endpoint:
            return self.model
        ref = Ref.parse(self.model)
        return ref.name if ref.kind == "hub" else ref.name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
