"""Figures of speed are told with their machine, and are no results of an evaluation to the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.card import made as tables
from tests.stages.card.made import made

SPEED = {"heldout": {"evaluator": "perplexity"}, "fast": {"evaluator": "speed"}}
MACHINE = {"system": "Linux", "processor": "A quick one", "cores": 4}


def test_the_machine_is_named_and_the_hub_is_told_of_quality_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MORE_FACTS", {"machine": MACHINE, "runtime": "llama.cpp, xllamacpp 1"})
    text = made(tmp_path, {"evaluate": SPEED}).card("code", "gguf")
    assert "Speed is that of one machine: A quick one, 4 cores, llama.cpp, xllamacpp 1." in text
    monkeypatch.setattr(tables, "MORE_FACTS", tables.MORE_FACTS | {"busy": "load 9 on 4 cores"})
    busy = made(tmp_path / "busy", {"evaluate": SPEED}).card("code", "gguf")
    assert "xllamacpp 1; it had other work as well, and can do more." in busy
    front, _, rest = text.partition("\n---\n")
    assert "heldout of quick" in front
    assert "fast of quick" not in front
    assert "`fast.loss`" in rest
    assert "Speed is" not in made(tmp_path / "plain").card("code", "gguf")
