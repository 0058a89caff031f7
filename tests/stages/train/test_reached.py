"""Every module that is to be trained is trained: what no gradient reaches is told at the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.lab import Lab
from variantforge.errors import UnreachedModules
from variantforge.stages.train.training import Training

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("reached"), tiny_llama)


@pytest.mark.parametrize("type", ["lora", "qlora"])
def test_every_module_learns(lab: Lab, type: str) -> None:
    """Also over NF4, where an evaluation before the first step once shut the gradient out."""
    if type == "qlora":
        pytest.importorskip("bitsandbytes")
    from safetensors.torch import load_file

    trained = lab.train(lab.step({"type": type}, max_steps=2), type)
    tensors = load_file(trained.path / "adapter" / "adapter_model.safetensors")
    still = [name for name, tensor in tensors.items() if ".lora_B." in name and not tensor.any()]
    assert len(tensors) == 28
    assert still == []


def test_modules_that_no_gradient_reaches_are_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Training.model

    def cut(self: Training) -> Any:
        model = make(self)
        down = model.get_base_model().model.layers[1].mlp.down_proj
        down.register_forward_pre_hook(lambda module, args: (args[0].detach(),))
        return model

    monkeypatch.setattr(Training, "model", cut)
    with pytest.raises(UnreachedModules, match="does not reach 2 of 14 modules: gate_proj, up_proj") as caught:
        lab.train(lab.step(), "cut")
    assert "exclude_modules: [gate_proj, up_proj]" in caught.value.next
