from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stages.quantize.conftest import artifact, quantize
from tests.tiny import in_files, tiny_model
from variantforge.errors import Interrupted, QuantizeError, WrongQuantizationConfig
from variantforge.stages.models import load_model
from variantforge.step import Artifact

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("fp8", "w4a16", "w8a8")


def made_of(model: Path, root: Path, format: str, **context: Any) -> Artifact:
    return quantize(root, format, "", {"model": artifact(root / "merged", model=model)}, **context)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied Llama in several files."""
    root = tmp_path_factory.mktemp("sharded")
    return in_files(tiny_model(root / "whole"), root / "model")


@pytest.fixture(scope="module")
def made(tiny_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    root = tmp_path_factory.mktemp("compressed")
    return {format: made_of(tiny_qwen3, root / format, format) for format in FORMATS}


def tensors_of(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


# --- the arithmetic, written out ------------------------------------------------------------------------------------


def weight_in(tensors: dict[str, Tensor], module: str) -> Tensor:
    """A weight as the file has it, by the format's description alone."""
    import torch

    scale = tensors[f"{module}.weight_scale"].float()
    if (packed := tensors.get(f"{module}.weight_packed")) is None:
        return tensors[f"{module}.weight"].float() * scale
    rows, columns = tensors[f"{module}.weight_shape"].tolist()
    nibbles = torch.stack(
        [(packed >> shift) & 15 for shift in range(0, 32, 4)], dim=-1
    )  # eight to a word, lowest first
    values = nibbles.reshape(rows, -1)[:, :columns].float() - 8
    return values * scale.repeat_interleave(columns // scale.shape[1], dim=1)


def rounded_by_token(format: str, x: Tensor) -> Tensor:
    import torch

    if format == "w4a16":
        return x
    largest = x.abs().amax(dim=-1, keepdim=True)
    if format == "w8a8":
        scale = largest / 127.5
        return (x / scale).round().clamp(-128, 127) * scale
    scale = largest / 448
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def reference_logits(format: str, original: Path, quantized: Path, tokens: Tensor) -> Tensor:
    import torch

    model, tensors = load_model(original), tensors_of(quantized)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight_scale" in tensors:
            module.weight = torch.nn.Parameter(weight_in(tensors, name), requires_grad=False)
            module.register_forward_pre_hook(lambda module, args: (rounded_by_token(format, args[0]),))
    with torch.inference_mode():
        logits: Tensor = model(tokens).logits
    return logits


@pytest.mark.parametrize("format", FORMATS)
def test_transformers_says_what_the_quantized_arithmetic_written_out_says(
    made: dict[str, Artifact], tiny_qwen3: Path, format: str
) -> None:
    import torch

    folder, tokens = made[format].path / "model", torch.arange(60).mul(7919).remainder(40_000)[None]
    wanted = reference_logits(format, tiny_qwen3, folder, tokens)
    model = load_model(folder)
    with torch.inference_mode():
        found, plain = model(tokens).logits, load_model(tiny_qwen3)(tokens).logits
    assert not plain.equal(found)
    # a value between two steps of an activation may fall to either: one step of many, so means are compared
    assert (found - wanted).abs().mean() < 0.02 * (found - plain).abs().mean()
    assert (found - plain).std() < 0.2 * plain.std()


@pytest.mark.parametrize("format", FORMATS)
def test_every_tensor_is_as_the_librarys_own_compressor_writes_it(
    made: dict[str, Artifact], tiny_qwen3: Path, tmp_path: Path, format: str
) -> None:
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    folder = made[format].path / "model"
    written = tensors_of(folder)
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    model = load_model(tiny_qwen3, dtype="bfloat16")
    apply_quantization_config(model, QuantizationConfig.model_validate(settings))
    for name, module in model.named_modules():
        if f"{name}.weight_scale" in written:
            module.weight_scale.data = written[f"{name}.weight_scale"]
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    expected = dict(model.state_dict())
    assert {name: (it.dtype, it.shape) for name, it in expected.items()} == {
        name: (it.dtype, it.shape) for name, it in written.items()
    }
    # the library divides in bf16, we in float32: some values that lie between two steps fall to the other side
    same = [(written[name].float() == tensor.float()).float().mean().item() for name, tensor in expected.items()]
    assert min(same) > 0.8
    (tmp_path / "config.json").write_text("{}")
    compressor.update_config(str(tmp_path))
    theirs = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert {name: value for name, value in theirs.items() if value not in ({}, None)} == {
        name: value for name, value in settings.items() if value is not None
    }


@pytest.mark.parametrize(
    ("format", "scheme"),
    [
        ("fp8", {"type": "float", "num_bits": 8, "strategy": "channel", "activations": ("float", "token")}),
        ("w8a8", {"type": "int", "num_bits": 8, "strategy": "channel", "activations": ("int", "token")}),
        ("w4a16", {"type": "int", "num_bits": 4, "strategy": "group", "activations": None}),
    ],
)
def test_config_parses_back_and_says_what_was_done(
    made: dict[str, Artifact], format: str, scheme: dict[str, Any]
) -> None:
    from compressed_tensors.quantization import QuantizationConfig

    settings = json.loads((made[format].path / "model" / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate(settings)
    (group,) = config.config_groups.values()
    weights, inputs = group.weights, group.input_activations
    told = {name: str(getattr(weights, name)) for name in ("type", "strategy")} | {"num_bits": weights.num_bits}
    assert told | {"activations": (inputs.type, inputs.strategy) if inputs else None} == scheme
    assert inputs is None or inputs.dynamic
    assert weights.symmetric
    assert not config.requires_calibration_data()
    assert (config.quant_method, config.ignore, group.targets) == ("compressed-tensors", ["lm_head"], ["Linear"])
    assert config.quantization_status.value == "compressed"


def test_head_and_embeddings_stay_as_they_were(made: dict[str, Artifact], tiny_qwen3: Path) -> None:
    before = tensors_of(tiny_qwen3)
    for format in FORMATS:
        after = tensors_of(made[format].path / "model")
        for name in ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"):
            assert after[name].equal(before[name])


def test_facts_tell_size_types_and_groups(made: dict[str, Artifact]) -> None:
    facts = {format: made[format].facts for format in FORMATS}
    assert facts["fp8"]["tensor_types"] == {"BF16": 11, "F8_E4M3": 14}
    assert facts["w8a8"]["tensor_types"] == {"BF16": 11, "INT8": 14}
    assert facts["w4a16"]["tensor_types"] == {"BF16": 11, "INT4": 14}
    assert facts["w4a16"]["group_size"] == 64  # rows of 64 do not divide by 128
    for format in FORMATS:
        size = (made[format].path / "model" / "model.safetensors").stat().st_size
        assert (facts[format]["size_bytes"], facts[format]["file"]) == (size, "model")
    assert facts["w4a16"]["bits_per_weight"] < facts["w8a8"]["bits_per_weight"] < 16


def test_smaller_groups_are_told(tiny_llama: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    made_of(tiny_llama, tmp_path, "w4a16", emit=lambda event: notes.append(event.get("text", "")))
    assert "w4a16 in groups of 64: rows of this model do not divide by 128" in notes


def test_groups_of_128_where_rows_divide_by_them(tmp_path: Path) -> None:
    made = made_of(tiny_model(tmp_path / "wide", hidden=128, layers=1), tmp_path, "w4a16")
    assert made.facts["group_size"] == 128
    assert list(tensors_of(made.path / "model")["model.layers.0.mlp.down_proj.weight_scale"].shape) == [128, 2]


def test_a_model_of_several_files_becomes_one_of_as_many_and_its_head_stays_tied(sharded: Path, tmp_path: Path) -> None:
    import torch

    made = made_of(sharded, tmp_path, "w8a8")
    folder = made.path / "model"
    assert {path.name for path in folder.glob("*.safetensors")} == {path.name for path in sharded.glob("*.safetensors")}
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert weight_map.keys() == tensors_of(folder).keys()
    assert "lm_head.weight" not in weight_map
    model = load_model(folder, dtype="bfloat16")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        found, plain = model(tokens).logits.float(), load_model(sharded, dtype="bfloat16")(tokens).logits.float()
    assert (found - plain).std() < 0.1 * plain.std()


def test_the_same_model_gives_the_same_bytes_wherever_it_lies(
    made: dict[str, Artifact], tiny_qwen3: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_qwen3, tmp_path / "elsewhere")
    again = made_of(tmp_path / "elsewhere", tmp_path, "fp8")
    for path in (made["fp8"].path / "model").iterdir():
        assert (again.path / "model" / path.name).read_bytes() == path.read_bytes(), path.name
    assert again.facts == made["fp8"].facts


@pytest.mark.parametrize("format", FORMATS)
def test_taken_in_small_pieces_it_is_written_as_when_taken_whole(
    made: dict[str, Artifact], format: str, tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("variantforge.stages.quantize.schemes.PIECE", 7 * 64)  # some rows, and a rest
    pieces = made_of(tiny_qwen3, tmp_path, format)
    for path in (made[format].path / "model").iterdir():
        assert (pieces.path / "model" / path.name).read_bytes() == path.read_bytes(), path.name


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_weight_that_does_not_come_back_from_the_file_ends_the_step(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from variantforge.stages.quantize.schemes import Scheme

    compressed = Scheme.compressed

    def damaged(self: Scheme, name: str, weight: Tensor) -> dict[str, Tensor]:
        parts = compressed(self, name, weight)
        if name.endswith("layers.1.mlp.up_proj.weight"):
            parts["weight"].view(-1)[77] += 3
        return parts

    monkeypatch.setattr(Scheme, "compressed", damaged)
    monkeypatch.setattr("variantforge.stages.quantize.schemes.PIECE", 1)  # each row alone, and it is not in the first
    with pytest.raises(QuantizeError, match=r"layers\.1\.mlp\.up_proj\.weight does not come back"):
        made_of(tiny_llama, tmp_path, "w8a8")


def test_a_tensor_without_a_place_ends_the_step(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from variantforge.stages.quantize.schemes import Scheme

    compressed = Scheme.compressed
    monkeypatch.setattr(
        Scheme,
        "compressed",
        lambda self, name, weight: {
            **(it := compressed(self, name, weight)),
            "weight_g_idx": it["weight_scale"][0].clone(),
        },
    )
    with pytest.raises(QuantizeError, match="have no place in it") as caught:
        made_of(tiny_llama, tmp_path, "fp8")
    assert "weight_g_idx" in caught.value.what
    assert caught.value.why.startswith("Expected: none; written: ('BF16'")


def changed(model: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(model, folder)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


@pytest.mark.parametrize("format", FORMATS)
def test_a_leftover_block_that_says_quantized_is_refused(tiny_llama: Path, tmp_path: Path, format: str) -> None:
    left = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(WrongQuantizationConfig, match="quantization_config"):
        made_of(changed(tiny_llama, tmp_path / "left", quantization_config=left), tmp_path, format)


def test_weights_that_are_not_finite_are_refused_by_name(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed(tiny_llama, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QuantizeError, match=r"layers\.0\.mlp\.up_proj\.weight holds values that are not finite"):
        made_of(folder, tmp_path, "fp8")


def test_rows_that_no_group_divides_are_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "odd", hidden=80, layers=1)
    with pytest.raises(QuantizeError, match="rows of 80, 160 weights") as caught:
        made_of(model, tmp_path, "w4a16")
    assert "w8a8" in caught.value.next


def test_experts_held_as_one_tensor_are_refused(tmp_path: Path) -> None:
    from tests.tiny_mixtures import tiny_mixture

    tiny_mixture(tmp_path / "mixture", "qwen3_moe")
    with pytest.raises(QuantizeError, match="Qwen3MoeForCausalLM cannot be written") as caught:
        made_of(tmp_path / "mixture", tmp_path, "fp8")
    assert "experts" in caught.value.why


def test_asked_to_stop_it_stops_between_two_tensors(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        made_of(tiny_llama, tmp_path, "fp8", stopping=lambda: True)
