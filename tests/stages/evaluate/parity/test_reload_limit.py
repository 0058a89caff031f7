"""How far a folder may be off when it is loaded again hangs on its arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from variantforge.stages.evaluate.parity.reload import AT_MOST, AT_MOST_INT8, limit_of


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        (None, AT_MOST),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, AT_MOST_INT8),
        ({"quant_method": "bitsandbytes", "load_in_8bit": False, "load_in_4bit": True}, AT_MOST),
        ({"quant_method": "compressed-tensors"}, AT_MOST),
    ],
)
def test_only_int8_whose_columns_hang_on_all_tokens_is_given_more_room(
    settings: dict[str, Any] | None, limit: float, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings} if settings else {}))
    assert limit_of(tmp_path) == limit
    assert AT_MOST < AT_MOST_INT8 <= 0.1
