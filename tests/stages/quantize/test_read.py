from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.quantize.conftest import quantize
from variantforge.errors import EvaluateError
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.read import dequantized, dequantized_state, hf_name, weight_pieces
from variantforge.step import Artifact


def original(model: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(model / "model.safetensors").items()}


def config(model: Path) -> object:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model)


def test_a_bf16_file_holds_exactly_the_weights_of_llama_and_the_tied_head(
    tiny_llama: Path, llama_source: Artifact
) -> None:
    state, weights = dequantized_state(llama_source.path / "model.gguf", config(tiny_llama)), original(tiny_llama)
    assert state.pop("lm_head.weight") is state["model.embed_tokens.weight"]
    assert state.keys() == weights.keys()
    assert all(state[name].equal(weight) for name, weight in weights.items())


def test_a_bf16_file_holds_exactly_the_weights_of_qwen3_and_its_own_head(
    tiny_qwen3: Path, qwen3_source: Artifact
) -> None:
    state, weights = dequantized_state(qwen3_source.path / "model.gguf", config(tiny_qwen3)), original(tiny_qwen3)
    assert state.keys() == weights.keys()
    assert "lm_head.weight" in state
    assert all(state[name].equal(weight) for name, weight in weights.items())


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_rows_come_in_pieces_in_the_order_of_transformers(
    tiny_llama: Path, llama_source: Artifact, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    file, weights = GgufFile.open(llama_source.path / "model.gguf"), original(tiny_llama)
    monkeypatch.setattr("variantforge.stages.quantize.read._PIECE", rows * 64)
    for name in ("blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.1.ffn_up.weight", "token_embd.weight"):
        pieces = list(weight_pieces(file, name))
        assert len(pieces) > 1
        assert all(weights[hf_name(name)][place].equal(values) for place, values in pieces), name
        assert sum(len(values) for _, values in pieces) == len(weights[hf_name(name)])


def test_an_f16_file_holds_the_weights_rounded_to_f16(
    tiny_llama: Path, llama_source: Artifact, in_process: None, tmp_path: Path
) -> None:
    made = quantize(tmp_path, "gguf", "F16", {"model": llama_source, "source": llama_source})
    state = dequantized_state(made.path / "model.gguf", config(tiny_llama))
    for name, weight in original(tiny_llama).items():
        assert state[name].equal(weight if weight.ndim == 1 else weight.half().float()), name


def test_a_model_filled_from_a_file_says_what_the_original_says(tiny_llama: Path, llama_source: Artifact) -> None:
    import torch

    from variantforge.stages.models import load_model

    model, tokens = load_model(tiny_llama), torch.arange(20)[None]
    with torch.inference_mode():
        expected = model(tokens).logits
        torch.nn.init.normal_(model.model.layers[0].self_attn.q_proj.weight)
        model.load_state_dict(dequantized_state(llama_source.path / "model.gguf", model.config))
        assert model(tokens).logits.equal(expected)


def test_another_architecture_is_read_through_transformers(llama_source: Artifact, tiny_llama: Path) -> None:
    """The same file, as if its architecture were one whose names are not in our table."""
    from variantforge.stages.quantize import read

    known = read.ARCHITECTURES.pop("llama")
    try:
        state = dequantized_state(llama_source.path / "model.gguf", config(tiny_llama))
    finally:
        read.ARCHITECTURES["llama"] = known
    weights = original(tiny_llama)
    assert all(state[name].equal(weight) for name, weight in weights.items())


def test_a_file_of_another_size_is_refused_naming_a_tensor(tiny_llama: Path, llama_source: Artifact) -> None:
    larger = config(tiny_llama)
    larger.num_hidden_layers = 3
    with pytest.raises(EvaluateError) as told:
        dequantized_state(llama_source.path / "model.gguf", larger)
    assert "model.layers.2." in told.value.why
    assert "file None" in told.value.why


def test_an_architecture_that_nobody_knows_is_an_evaluation_error(tiny_llama: Path, tmp_path: Path) -> None:
    from tests.stages.quantize.synthetic import Synthetic

    file = Synthetic("nosuch").write(tmp_path / "model.gguf")
    with pytest.raises(EvaluateError, match="architecture 'nosuch'"):
        dequantized_state(file, config(tiny_llama))


def test_an_unknown_tensor_name_is_an_evaluation_error() -> None:
    assert hf_name("blk.11.ffn_down.weight") == "model.layers.11.mlp.down_proj.weight"
    with pytest.raises(EvaluateError, match="ssm_conv1d"):
        hf_name("blk.0.ssm_conv1d.weight")


@pytest.mark.parametrize(
    ("type", "worst"),
    [
        *(("Q8_0", 0.0006), ("Q6_K", 0.0022), ("Q5_K_M", 0.004), ("Q4_K_M", 0.008), ("Q3_K_M", 0.017), ("Q2_K", 0.03)),
        *(("Q5_1", 0.0025), ("Q5_0", 0.0035), ("Q4_1", 0.006), ("Q4_0", 0.008), ("IQ4_NL", 0.008), ("IQ4_XS", 0.008)),
        *(("IQ3_S", 0.03), ("TQ2_0", 0.05), ("TQ1_0", 0.05)),
    ],
)
def test_each_type_keeps_weights_within_its_step(type: str, worst: float, tmp_path: Path) -> None:
    from tests.stages.quantize.synthetic import Synthetic
    from variantforge.stages.quantize.gguf_write import quantize_file

    source = GgufFile.open(Synthetic().write(tmp_path / "source.gguf"))
    quantize_file(source, tmp_path / "made.gguf", type, lambda done, total: None)
    made = GgufFile.open(tmp_path / "made.gguf")
    error = abs(dequantized(made, "blk.0.attn_q.weight") - dequantized(source, "blk.0.attn_q.weight")).max()
    assert worst / 4 < error < worst
