"""Folding an adapter into its base, and proving it.

Each weight W (bf16) with matrices A, B becomes  W' = bf16(W + alpha / r * B A)  (LoRA, https://arxiv.org/abs/2106.09685,
section 4.1), computed in float32 and rounded once, so that small updates are not lost (see ``rounding``). Tensors are
streamed file by file, so no model is held while folding. Then the merged folder is read back from disk and compared
with the adapter on the base over held-out prompts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import Interrupted, MergeError
from variantforge.fsops import copy_file, make_folder
from variantforge.spec.family import VariantSpec
from variantforge.stages.models import device, load_model, quiet
from variantforge.stages.rounding import to_bf16
from variantforge.stages.rows import HELDOUT, TRAIN, as_chat, read_rows
from variantforge.stages.stage import Desk, Place
from variantforge.stages.tokens import load_tokenizer, tokenize_row
from variantforge.stages.train import adapters
from variantforge.step import Artifact, Step, StepContext

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PROMPTS, PROMPT_TOKENS = 8, 256
# Mean KL in nats. Rounding costs about 6e-5 (SmolLM2-135M); a merge that is wrong costs what training changed, or more.
KL_AT_MOST = 1e-3
KL_OF_ROUNDING = 2e-4
SHARE_OF_TRAINING = 0.1  # of the KL that training made: a weak adapter folded in wrongly stays under KL_AT_MOST


class MergeStage:
    name = "merge"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        trained, data = desk.step(Place("train", name)), desk.step(Place("data", name, "mix"))
        if base and trained and data:
            inputs = {"base": base.key, "adapter": trained.key, "data": data.key}
            desk.add(Place("merge", name), Step("merge", self.version, "fold", inputs=inputs))

    def do(self, context: StepContext) -> None:
        with quiet():
            _do(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


STAGE = MergeStage()


def _do(context: StepContext) -> None:
    base, trained = context.inputs["base"], context.inputs["adapter"]
    source, merged = base.path / "model", make_folder(context.out / "model")
    adapter = trained.path / adapters.ADAPTER
    # without an adapter all weights were trained, and are the merged model
    folded = fold(context, source, adapter, merged) if adapter.exists() else _copy(trained.path / "model", merged)
    tensors = require_same_inventory(source, merged)
    measured = compare(context, Prompts.of(context, source))
    _judge(measured)
    carried = {name: value for name, value in base.facts.items() if name != "refusal"}
    context.write_facts({**carried, **measured, "tensors": tensors, "folded": folded})


# --- folding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Update:
    """One LoRA pair: A [r, in], B [out, r], and what their product is multiplied with."""

    a: Tensor
    b: Tensor
    scale: float
    transposed: bool  # the layer keeps its weight as [in, out] (Conv1D)

    def apply(self, weight: Tensor) -> Tensor:
        """The weight with the update in it, float32."""
        delta = self.scale * (self.b.float() @ self.a.float())
        return weight.float() + (delta.T if self.transposed else delta)


def read_updates(adapter: Path) -> dict[str, Update]:
    """Tensor name in the base -> its update. Raises MergeError for kinds of adapter that cannot be folded so."""
    from safetensors.torch import load_file

    config = json.loads((adapter / adapters.CONFIG).read_text())
    odd = [name for name in _NOT_PLAIN_LORA if config.get(name)]
    if config["peft_type"] != "LORA" or odd:
        raise MergeError(
            "this kind of adapter cannot be folded into its base", why=", ".join([config["peft_type"], *odd])
        )
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(adapter / adapters.WEIGHTS).items():
        module, _, matrix = name.removeprefix("base_model.model.").rpartition(".lora_")
        pairs.setdefault(f"{module}.weight", {})[matrix] = tensor
    scale = config["lora_alpha"] / config["r"]
    return {
        name: Update(pair["A.weight"], pair["B.weight"], scale, bool(config["fan_in_fan_out"]))
        for name, pair in pairs.items()
    }


_NOT_PLAIN_LORA = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "lora_bias", "modules_to_save")


def fold(context: StepContext, base: Path, adapter: Path, out: Path) -> int:
    """Writes ``out`` as ``base`` with the adapter in its weights, file by file; returns how many weights changed."""
    from safetensors.torch import load_file, save_file

    updates, left = read_updates(adapter), set(read_updates(adapter))
    files = sorted(base.iterdir())
    for done, path in enumerate(files):
        if path.suffix != ".safetensors":
            copy_file(path, out / path.name)
            continue
        tensors = load_file(path)
        for name in sorted(left & tensors.keys()):
            tensors[name] = to_bf16(updates[name].apply(tensors[name]), name)
            left.discard(name)
        save_file(tensors, out / path.name, metadata={"format": "pt"})
        context.progress(done + 1, len(files), "file")
    if left:
        raise MergeError(
            f"{len(left)} trained matrices have no weight in the base to be folded into, {min(left)} for one",
            why="The base's files name their tensors differently from the modules that were trained.",
        )
    return len(updates)


def _copy(source: Path, out: Path) -> int:
    for path in source.iterdir():
        copy_file(path, out / path.name)
    return len(_inventory(source))


# --- inventory ----------------------------------------------------------------------------------------------------


def _inventory(folder: Path) -> dict[str, tuple[list[int], str]]:
    """Tensor name -> shape and type, from the headers of the folder's files."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                found[name] = (list(part.get_shape()), str(part.get_dtype()))
    return found


def require_same_inventory(base: Path, merged: Path) -> int:
    """Raises MergeError unless both hold the same tensors (a tied head stays tied); returns how many."""
    wanted, found = _inventory(base), _inventory(merged)
    differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise MergeError(
            f"{len(differing)} tensors of the merged model are not as in the base, {name} for one",
            why=f"In the base: {wanted.get(name, 'absent')}; merged: {found.get(name, 'absent')}.",
        )
    return len(found)


# --- comparison ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompts:
    """Token ids of up to 8 held-out rows, at most 256 tokens each."""

    ids: list[list[int]]

    @classmethod
    def of(cls, context: StepContext, model: Path) -> Prompts:
        tokenizer, stop_ids = load_tokenizer(model), context.inputs["base"].facts["stop_token_ids"]
        data = context.inputs["data"].path
        rows = list(islice(read_rows(data / HELDOUT), PROMPTS)) or list(islice(read_rows(data / TRAIN), PROMPTS))
        return cls([tokenize_row(tokenizer, as_chat(row), stop_ids=stop_ids).ids[:PROMPT_TOKENS] for row in rows])


def compare(context: StepContext, prompts: Prompts) -> dict[str, Any]:
    """KL of the merged model, read back from disk, from what was trained. In float32, nats, over all positions.

    ``kl_of_training`` is how far training has moved the base, on the same prompts. For qlora, ``kl_nf4_base`` tells
    how far the merged model is from the adapter on the NF4 base it was trained on: the price of folding into the
    unquantized base, for information.
    """
    base, trained = context.inputs["base"].path / "model", context.inputs["adapter"]
    where = str(device())
    plain = load_model(base, dtype="float32").to(where)
    _store(context, plain, prompts, "plain")
    tuned = _trained_model(plain, trained)
    moved = _divergence(context, tuned, prompts, "plain")["kl_mean"]
    _store(context, tuned, prompts, "base")
    del plain, tuned
    is_qlora = trained.facts["adapter"]["type"] == "qlora"
    if is_qlora:
        _store(context, _trained_model(adapters.load_nf4(base, where), trained), prompts, "nf4")
    merged = load_model(context.out / "model", dtype="float32").to(where)
    measured = {**_divergence(context, merged, prompts, "base"), "kl_of_training": moved}
    if is_qlora:
        measured["kl_nf4_base"] = _divergence(context, merged, prompts, "nf4")["kl_mean"]
    return measured


def _trained_model(base: Module, trained: Artifact) -> Module:
    """The adapter on its base, or the fully trained model."""
    from peft import PeftModel

    if (trained.path / adapters.ADAPTER).exists():
        return PeftModel.from_pretrained(base, trained.path / adapters.ADAPTER, local_files_only=True).eval()
    return load_model(trained.path / "model", dtype="float32").to(next(base.parameters()).device)


def _log_probs(context: StepContext, model: Module, prompts: Prompts, unit: str) -> Iterator[Tensor]:
    """Next-token log-probabilities of each prompt, [length, vocabulary], float32, on the CPU."""
    import torch

    where = next(model.parameters()).device
    for done, ids in enumerate(prompts.ids):
        if context.stopping():
            raise Interrupted("merging stopped", next="the same command starts it again")
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids], device=where), use_cache=False).logits[0]
        yield logits.float().log_softmax(-1).cpu()
        context.progress(done + 1, len(prompts.ids), unit)


def _store(context: StepContext, model: Module, prompts: Prompts, name: str) -> None:
    """Keeps a reference's log-probabilities on disk, so that only one model is in memory at a time."""
    from safetensors.torch import save_file

    for index, log_probs in enumerate(_log_probs(context, model, prompts, "prompt of the adapter")):
        save_file({"log_probs": log_probs}, context.scratch / f"{name}-{index}.safetensors")


def _divergence(context: StepContext, model: Module, prompts: Prompts, name: str) -> dict[str, Any]:
    """KL(reference || model) for each position: its mean and maximum, and how often both have the same top token."""
    import torch
    from safetensors.torch import load_file

    divergences, agreements = [], []
    for index, log_probs in enumerate(_log_probs(context, model, prompts, "prompt of the merged model")):
        reference = load_file(context.scratch / f"{name}-{index}.safetensors")["log_probs"]
        divergences.append((reference.exp() * (reference - log_probs)).sum(-1).clamp(min=0))
        agreements.append(reference.argmax(-1) == log_probs.argmax(-1))
    kl, same = torch.cat(divergences).double(), torch.cat(agreements).double()
    return {
        "kl_mean": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same_top": float(same.mean()),
        "prompts": len(prompts.ids),
        "positions": len(kl),
    }


def _judge(measured: Mapping[str, Any]) -> None:
    kl, moved = measured["kl_mean"], measured["kl_of_training"]
    limit = min(KL_AT_MOST, max(KL_OF_ROUNDING, SHARE_OF_TRAINING * moved))
    if not kl <= limit:  # also when it is not a number
        raise MergeError(
            f"the merged model does not do what base and adapter do: mean KL {kl:.2e}, at most {limit:.2e} expected",
            why=f"Over {measured['positions']} positions of {measured['prompts']} prompts; largest KL "
            f"{measured['kl_max']:.2e}, same top token at {measured['same_top']:.1%}. Training moved the base by "
            f"{moved:.2e}; rounding to bf16 gives up to {KL_OF_ROUNDING:.0e}.",
            next="report this with the name of the base model: it is read back differently from how it was trained",
        )
