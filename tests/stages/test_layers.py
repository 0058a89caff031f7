"""A model read layer by layer says what the whole one says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import in_files, tiny_model
from variantforge.errors import BaseError
from variantforge.stages.layers import load_by_layers
from variantforge.stages.models import load_model

ARCHITECTURES = ("llama", "qwen3", "gemma3_text", "mixtral", "phi3")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_says_what_the_whole_model_says_and_holds_no_layer(architecture: str, tied: bool, tmp_path: Path) -> None:
    import torch

    folder = in_files(tiny_model(tmp_path / "one", architecture, tied=tied), tmp_path / "model")
    tokens = torch.arange(40)[None]
    model, whole = load_by_layers(folder, tmp_path / "scratch"), load_model(folder)
    for _ in range(2):  # what was read once is read again
        with torch.inference_mode():
            assert model(input_ids=tokens).logits.equal(whole(input_ids=tokens).logits)
        held = {name for name, parameter in model.named_parameters() if parameter.device.type != "meta"}
        assert held
        assert not {name for name in held if ".layers." in name}


def test_a_model_that_tells_no_layers_is_held_whole(
    small_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaPreTrainedModel

    monkeypatch.setattr(LlamaPreTrainedModel, "_no_split_modules", None)
    model = load_by_layers(in_files(small_llama, tmp_path / "model"), tmp_path)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_a_model_in_one_file_is_held_whole(small_llama: Path, tmp_path: Path) -> None:
    """In float32 it is two of its files, which is what a step may hold."""
    model = load_by_layers(small_llama, tmp_path)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_a_tensor_that_is_not_there_is_an_error(small_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, name = in_files(small_llama, tmp_path / "model"), "model.layers.1.mlp.up_proj.weight"
    file = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BaseError, match="tensors are missing"):
        load_by_layers(folder, tmp_path / "scratch")
