from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from variantforge.errors import BaseError
from variantforge.stages.models import device, load_model, quiet


def test_a_model_is_loaded_in_eval_mode_and_in_the_wanted_dtype(small_llama: Path) -> None:
    import torch

    assert load_model(small_llama).dtype == torch.float32
    model = load_model(small_llama, dtype="bfloat16", device="cpu")
    assert (model.dtype, model.training) == (torch.bfloat16, False)


def test_an_nf4_folder_is_loaded_the_same_way(small_llama: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    with quiet():
        quantized = AutoModelForCausalLM.from_pretrained(small_llama, quantization_config=settings)
        quantized.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype="bfloat16")
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, quantized.eval()(ids).logits)


def test_nothing_is_printed(small_llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(small_llama)
    assert capfd.readouterr() == ("", "")


def test_quiet_gives_back_what_it_took() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.enable_progress_bar()
    level = logging.getLogger("transformers").level
    with quiet():
        assert not transformers_logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled()
    assert logging.getLogger("transformers").level == level


def test_the_device_is_one_that_torch_has() -> None:
    import torch

    assert torch.zeros(1, device=device()).sum() == 0


def test_a_missing_tensor_is_never_filled_with_random_numbers(small_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(small_llama, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match="missing") as caught:
        load_model(folder)
    assert "model.layers.0.mlp.up_proj.weight" in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_not_loaded(small_llama: Path, tmp_path: Path, name: str) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(small_llama, tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="cannot be loaded"):
        load_model(folder)


def test_code_of_the_model_is_not_run(small_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Config", "AutoModelForCausalLM": "odd.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(BaseError):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="cannot be loaded"):
        load_model(tmp_path / "gone")
