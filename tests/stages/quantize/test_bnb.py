from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.quantize.conftest import artifact, quantize
from variantforge.errors import OutOfSpace, QuantizeError, WrongQuantizationConfig
from variantforge.hashing import file_digest
from variantforge.stages.quantize.bnb import BitsAndBytes, Int8, Nf4, kept_on_disk
from variantforge.step import Artifact


def digests(folder: Path) -> dict[str, str]:
    return {file.name: file_digest(file) for file in folder.iterdir()}


FORMATS = ("nf4", "int8")


@pytest.fixture(scope="module")
def in_int8(tiny_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    root = tmp_path_factory.mktemp("int8")
    return quantize(root, "int8", "", {"model": artifact(root / "merged", model=tiny_qwen3)})


@pytest.fixture(scope="module")
def made(tiny_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    root = tmp_path_factory.mktemp("nf4")
    return quantize(root, "nf4", "", {"model": artifact(root / "merged", model=tiny_qwen3)})


def test_the_folder_loads_as_any_other_and_stays_near_the_original(made: Artifact, tiny_qwen3: Path) -> None:
    import torch

    from variantforge.stages.models import load_model

    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        quantized = load_model(made.path / "model", dtype="bfloat16")(tokens).logits.float()
        original = load_model(tiny_qwen3, dtype="bfloat16")(tokens).logits.float()
    assert not quantized.equal(original)
    assert (quantized - original).std() < 0.3 * original.std()


def test_linear_layers_are_nf4_while_embeddings_and_head_stay_bf16(made: Artifact) -> None:
    from variantforge.stages.base.safetensors_header import read_safetensors_header

    tensors = read_safetensors_header(made.path / "model" / "model.safetensors")
    assert tensors["model.layers.0.self_attn.q_proj.weight"].dtype == "U8"
    assert tensors["model.embed_tokens.weight"].dtype == "BF16"
    assert tensors["lm_head.weight"].dtype == "BF16"
    assert "model.layers.0.self_attn.q_proj.weight.nested_absmax" in tensors  # doubly quantized


def test_the_folder_says_how_it_was_quantized_and_holds_all_that_a_model_needs(
    made: Artifact, tiny_qwen3: Path
) -> None:
    model = made.path / "model"
    quantization = json.loads((model / "config.json").read_text())["quantization_config"]
    assert quantization["bnb_4bit_quant_type"] == "nf4"
    assert quantization["bnb_4bit_use_double_quant"] is True
    assert quantization["bnb_4bit_compute_dtype"] == "bfloat16"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (model / name).read_bytes() == (tiny_qwen3 / name).read_bytes()
    assert json.loads((model / "generation_config.json").read_text())["eos_token_id"] == 2
    assert str(tiny_qwen3) not in (model / "config.json").read_text()


def test_facts_count_weights_as_what_they_stand_for(made: Artifact, tiny_qwen3: Path) -> None:
    from variantforge.stages.models import load_model

    weights = load_model(tiny_qwen3).num_parameters()
    size_bytes = (made.path / "model" / "model.safetensors").stat().st_size
    assert made.facts["tensor_types"] == {"BF16": 11, "NF4": 14}
    assert made.facts["size_bytes"] == size_bytes
    assert made.facts["bits_per_weight"] == pytest.approx(8 * size_bytes / weights, rel=0.01)
    assert made.facts["bits_per_weight"] < 16


def test_the_same_model_gives_the_same_bytes_wherever_it_lies(made: Artifact, tiny_qwen3: Path, tmp_path: Path) -> None:
    again = quantize(tmp_path, "nf4", "", {"model": artifact(tmp_path / "elsewhere", model=tiny_qwen3)})
    assert digests(again.path / "model") == digests(made.path / "model")
    assert again.facts == made.facts


def test_int8_rows_are_whole_numbers_of_a_scale(in_int8: Artifact, tiny_qwen3: Path) -> None:
    """LLM.int8(): each row of a weight, divided by its largest value, in steps of 1/127."""
    from safetensors.torch import load_file

    written = load_file(in_int8.path / "model" / "model.safetensors")
    weight = load_file(tiny_qwen3 / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].float()
    scale = written["model.layers.0.mlp.up_proj.SCB"][:, None]
    assert scale.equal(weight.abs().amax(dim=1, keepdim=True))
    assert ((written["model.layers.0.mlp.up_proj.weight"] * scale / 127 - weight).abs() <= scale / 254 * 1.02).all()
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert str(written[name].dtype) == "torch.bfloat16"


def test_int8_loads_as_any_other_folder_and_stays_nearer_than_nf4(
    made: Artifact, in_int8: Artifact, tiny_qwen3: Path
) -> None:
    import torch

    from variantforge.stages.models import load_model

    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        nf4, int8, original = (
            load_model(folder, dtype="bfloat16")(tokens).logits.float()
            for folder in (made.path / "model", in_int8.path / "model", tiny_qwen3)
        )
    assert not int8.equal(original)
    assert (int8 - original).std() < 0.05 * original.std()
    assert (int8 - original).std() < 0.3 * (nf4 - original).std()


def test_int8_facts_and_settings(in_int8: Artifact) -> None:
    assert in_int8.facts["format"] == "int8"
    assert in_int8.facts["tensor_types"] == {"BF16": 11, "INT8": 14}
    settings = json.loads((in_int8.path / "model" / "config.json").read_text())["quantization_config"]
    assert (settings["load_in_8bit"], settings["quant_method"]) == (True, "bitsandbytes")


@pytest.mark.parametrize("quantizer", [Nf4, Int8])
def test_no_weight_of_the_model_is_held_each_is_mapped_from_a_file(
    quantizer: type[BitsAndBytes], tiny_qwen3: Path, tmp_path: Path
) -> None:
    with kept_on_disk(tmp_path):
        model = quantizer()._quantized(tiny_qwen3)
    files = mapped_files()
    held = [name for name, weight in model.named_parameters() if not is_within(files, weight.data_ptr())]
    assert held == []
    assert len(list(model.parameters())) > 14
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tiny_qwen3: Path, tmp_path: Path) -> None:
    (tmp_path / "weight").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace), kept_on_disk(tmp_path):
        Nf4()._quantized(tiny_qwen3)


def mapped_files() -> list[range]:
    """Where files are mapped into this process (man 5 proc: an inode of 0 is memory of our own)."""
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    places = [place.split("-") for place, _, _, _, inode, *_ in lines if int(inode)]
    return [range(int(first, 16), int(last, 16)) for first, last in places]


def is_within(places: list[range], address: int) -> bool:
    return any(address in place for place in places)


@pytest.mark.parametrize("format", FORMATS)
def test_a_leftover_block_that_says_quantized_is_refused(tiny_llama: Path, tmp_path: Path, format: str) -> None:
    import shutil

    shutil.copytree(tiny_llama, tmp_path / "left")
    config = json.loads((tmp_path / "left" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "left" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WrongQuantizationConfig, match=r"holds a quantization_config \(bitsandbytes\)"):
        quantize(tmp_path, format, "", {"model": artifact(tmp_path / "merged", model=tmp_path / "left")})


def test_a_model_with_a_nan_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_llama, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QuantizeError, match="not finite"):
        quantize(tmp_path, "nf4", "", {"model": artifact(tmp_path / "merged", model=tmp_path / "model")})
