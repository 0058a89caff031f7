from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.train.conftest import one_thread  # noqa: F401
from tests.stages.train.lab import Lab
from tests.tiny import smollm2_gguf
from variantforge.errors import MergeError, WrongBase
from variantforge.hashing import file_digest
from variantforge.stages.base.stage import STAGE as BASE
from variantforge.stages.merge import STAGE
from variantforge.stages.merge.inventory import require_same_inventory
from variantforge.stages.merge.streamed import Update
from variantforge.stages.models import load_model, quiet
from variantforge.step import FACTS, Artifact, Pin, Step

# Enough to move every weight well beyond what rounding does.
HARD = {"learning_rate": 2e-2, "num_train_epochs": 1}


def merge(lab: Lab, trained: Artifact, place: str = "merged") -> Artifact:
    step = Step("merge", 1, "fold", inputs={"base": lab.base.key, "adapter": trained.key, "data": lab.data.key})
    inputs = {"base": lab.base, "adapter": trained, "data": lab.data}
    made = do_step(STAGE, step, lab.root / place, inputs, emit=lab.events.append)
    shutil.rmtree(lab.root / place / "scratch")  # what the witness says, in full: 100 MB
    return made


def loud(source: Path, folder: Path) -> Path:
    """The model with larger weights: at their first random size they hardly show in what it says."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    louder = {name: tensor * (4 if tensor.dim() == 2 else 1) for name, tensor in tensors.items()}
    save_file(louder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def loud_llama(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> Path:
    return loud(small_llama, tmp_path_factory.mktemp("loud") / "llama")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, loud_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("merge"), loud_llama)


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Artifact:
    return lab.train(lab.step(**HARD))


@pytest.fixture(scope="module")
def merged(lab: Lab, trained: Artifact) -> Artifact:
    return merge(lab, trained)


def copied(trained: Artifact, to: Path) -> Artifact:
    shutil.copytree(trained.path, to)
    return Artifact(trained.key, to)


def test_the_merged_model_does_what_base_and_adapter_do(merged: Artifact) -> None:
    facts = merged.facts
    assert facts["kl_mean"] < 2e-4 < 1e-2 < facts["kl_of_training"]
    assert facts["prompts"] == 6
    assert facts["positions"] > 100
    assert facts["tensors"] == 20
    assert facts["folded"] == 14
    assert "kl_nf4_base" not in facts


def test_what_is_known_of_the_base_is_handed_on(lab: Lab, merged: Artifact) -> None:
    assert {name: merged.facts[name] for name in lab.base.facts} == lab.base.facts


def test_the_folder_is_the_bases_but_for_its_weights(lab: Lab, merged: Artifact) -> None:
    base, out = lab.base.path / "model", merged.path / "model"
    assert {path.name for path in out.iterdir()} == {path.name for path in base.iterdir()}
    same = {path.name for path in out.iterdir() if path.read_bytes() == (base / path.name).read_bytes()}
    assert {path.name for path in out.iterdir()} - same == {"model.safetensors"}


def test_folding_is_pefts_own_merge_rounded_to_a_neighbour(lab: Lab, trained: Artifact, merged: Artifact) -> None:
    import torch
    from peft import PeftModel

    with quiet():
        tuned = PeftModel.from_pretrained(load_model(lab.base.path / "model"), trained.path / "adapter")
        theirs = tuned.merge_and_unload().state_dict()
    ours = load_model(merged.path / "model", dtype="bfloat16").state_dict()
    assert theirs.keys() == ours.keys()
    for name, exact in theirs.items():
        toward_zero = (exact.view(torch.int32) & -(1 << 16)).view(torch.float32)
        away = ((exact.view(torch.int32) + 0xFFFF) & -(1 << 16)).view(torch.float32)
        assert ((ours[name] == toward_zero) | (ours[name] == away)).all(), name


def test_the_adapter_of_an_untied_model_folds_too(tmp_path: Path, tiny_qwen3: Path) -> None:
    lab = Lab(tmp_path, tiny_qwen3, tied=False)
    facts = merge(lab, lab.train(lab.step(**HARD, max_steps=3))).facts
    assert facts["kl_mean"] < 1e-4
    assert facts["tied"] is False


def test_qlora_tells_how_far_the_merged_model_is_from_the_nf4_base_it_was_trained_on(
    tmp_path: Path, loud_llama: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    lab = Lab(tmp_path, loud_llama)
    facts = merge(lab, lab.train(lab.step({"type": "qlora"}, **HARD, max_steps=3))).facts
    assert facts["kl_mean"] * 5 < facts["kl_nf4_base"]


def test_a_fully_trained_model_is_the_merged_one(tmp_path: Path, small_llama: Path) -> None:
    lab = Lab(tmp_path, small_llama)
    trained = lab.train(lab.step({"type": "full"}, max_steps=1))
    merged = merge(lab, trained)
    weights = Path("model") / "model.safetensors"
    assert (merged.path / weights).read_bytes() == (trained.path / weights).read_bytes()
    assert merged.facts["kl_mean"] == 0.0


def test_merging_again_gives_the_same_bytes(lab: Lab, trained: Artifact, merged: Artifact) -> None:
    again = merge(lab, trained, "again")
    for name in (FACTS, "model/model.safetensors"):
        assert (again.path / name).read_bytes() == (merged.path / name).read_bytes()


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, -1.0])
def test_a_wrong_scale_is_found(
    lab: Lab, trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """What is folded differs from what the adapter says: the comparison with the adapter must find it."""
    right = Update.apply
    monkeypatch.setattr(Update, "apply", lambda self, weight: right(replace(self, scale=factor * self.scale), weight))
    with pytest.raises(MergeError, match=r"mean KL .* at most .* expected"):
        merge(lab, trained, tmp_path.name)


def test_an_adapter_for_another_model_is_refused(lab: Lab, trained: Artifact, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = copied(trained, tmp_path / "other")
    weights = other.path / "adapter" / "adapter_model.safetensors"
    save_file({name.replace("layers.1", "layers.7"): tensor for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(WrongBase, match=r"does not fit the base.*layers\.7"):
        merge(lab, other, tmp_path.name)


@pytest.mark.parametrize(
    "change", [{"use_dora": True}, {"rank_pattern": {"q_proj": 4}}, {"peft_type": "IA3"}, {"r": 8, "lora_bias": True}]
)
def test_settings_that_are_not_those_of_the_matrices_are_found(
    lab: Lab, trained: Artifact, tmp_path: Path, change: dict[str, Any]
) -> None:
    other = copied(trained, tmp_path / "other")
    config = other.path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(WrongBase, match="does not fit the base"):
        merge(lab, other, tmp_path.name)


def test_a_head_that_is_no_longer_tied_is_found(lab: Lab, merged: Artifact, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    untied = copied(merged, tmp_path / "untied").path / "model"
    tensors = load_file(untied / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, untied / "model.safetensors")
    with pytest.raises(MergeError, match=r"lm_head\.weight"):
        require_same_inventory(lab.base.path / "model", untied)


@pytest.mark.slow
def test_a_real_model_keeps_what_a_short_training_taught_it(tmp_path: Path) -> None:
    """SmolLM2-135M: updates far below bf16's grid, which rounding to nearest would lose (mean KL 2e-3)."""
    pin = Pin(file_digest(smollm2_gguf()), str(smollm2_gguf()))
    base = do_step(BASE, Step("base", BASE.version, "gguf", pins={"model": pin}), tmp_path)
    lab = Lab(tmp_path / "lab", base.path / "model")
    lab.base = base
    trained = lab.train(lab.step(num_train_epochs=1, learning_rate=2e-4))
    facts = merge(lab, trained).facts
    assert trained.facts["loss_last"] < trained.facts["loss_first"]
    assert facts["kl_mean"] < 2e-4
    assert facts["kl_mean"] * 10 < facts["kl_of_training"]
