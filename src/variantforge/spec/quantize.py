"""What a family file says of calibration: the text that quantizers look at to see which weights matter."""

from __future__ import annotations

from pydantic import Field, field_validator

from variantforge.spec.section import Section


class CalibrationSpec(Section):
    """Rows that a model reads while it is quantized. Held-out rows are never among them."""

    datasets: dict[str, float] = Field(
        {}, description="dataset -> its share of the tokens; by default, the rows that the variant is trained on"
    )
    tokens: int = Field(131_072, ge=512, description="read at most this many tokens, all rows together")
    max_length: int = Field(2048, ge=32, description="tokens of a row that are read; what is beyond is left out")
    seed: int = Field(0, ge=0, lt=1 << 31, description="another seed chooses other rows")

    @field_validator("datasets")
    @classmethod
    def _shares_are_positive(cls, value: dict[str, float]) -> dict[str, float]:
        for name, share in value.items():
            if share <= 0:
                raise ValueError(f"shares are above 0: give '{name}' one, or leave it out")
        return value
