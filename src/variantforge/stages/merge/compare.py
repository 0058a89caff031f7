"""What a merged model says, beside what was trained: on held-out prompts, read back from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import Interrupted, MergeError
from variantforge.spec.family import AdapterSpec
from variantforge.stages.merge.whole import load_adapter
from variantforge.stages.models import device, load_model
from variantforge.stages.rows import HELDOUT, TRAIN, as_chat, read_rows
from variantforge.stages.tokens import load_tokenizer, tokenize_row
from variantforge.stages.train import adapters
from variantforge.stages.train.adapters.witness import divergence, speak
from variantforge.step import Artifact, StepContext

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PROMPTS, PROMPT_TOKENS = 8, 256
# Mean KL in nats. Rounding costs about 6e-5 (SmolLM2-135M); a merge that is wrong costs what training changed, or more.
KL_AT_MOST = 1e-3
KL_OF_ROUNDING = 2e-4
KL_OF_BF16 = 5e-3  # arithmetic in bf16 beside arithmetic in float32
SHARE_OF_TRAINING = 0.1  # of the KL that training made: a weak adapter folded in wrongly stays under KL_AT_MOST


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

    ``kl_of_training`` is how far training has moved the base, on the same prompts. For a base in NF4, ``kl_nf4_base``
    tells how far the merged model is from the adapter on the NF4 base it was trained on: the price of folding into the
    unquantized base, for information. ``witness`` tells the same of the model that was in memory when training ended,
    on sequences of its own (see ``adapters.witness``).
    """
    base, trained = context.inputs["base"].path / "model", context.inputs["adapter"]
    where = str(device())
    plain = load_model(base, dtype="float32").to(where)
    _hear(context, plain, prompts, keep="plain")
    untrained = speak(plain)
    tuned = _trained_model(plain, trained)
    moved = _hear(context, tuned, prompts, ["plain"], keep="base")["plain"]["kl_mean"]
    del plain, tuned
    over_nf4 = ["nf4"] if AdapterSpec(**trained.facts["adapter"]).over_nf4 else []
    if over_nf4:
        _hear(context, _trained_model(adapters.load_nf4(base, where), trained), prompts, keep="nf4")
    merged = load_model(context.out / "model", dtype="float32").to(where)
    heard = _hear(context, merged, prompts, ["base", *over_nf4])
    measured = {**heard["base"], "kl_of_training": moved}
    if over_nf4:
        measured["kl_nf4_base"] = heard["nf4"]["kl_mean"]
    if witness := adapters.read_witness(trained.path):
        kl, moved = divergence(witness.log_probs, speak(merged)), divergence(witness.log_probs, untrained)
        measured["witness"] = {"kl": kl, "kl_of_training": moved, "base_in": witness.precision}
    return measured


def _trained_model(base: Module, trained: Artifact) -> Module:
    """The adapter on its base, or the fully trained model."""
    if (trained.path / adapters.ADAPTER).exists():
        return load_adapter(base, trained.path / adapters.ADAPTER)
    return load_model(trained.path / "model", dtype="float32").to(next(base.parameters()).device)


def _hear(
    context: StepContext, model: Module, prompts: Prompts, beside: Sequence[str] = (), *, keep: str = ""
) -> dict[str, dict[str, Any]]:
    """What the model says to each prompt, ``beside`` what others said that were kept under these names: for each of
    them, KL(other || model) over all positions, its mean and maximum, and how often both have the same top token.

    ``keep`` puts it on disk, so that only one model is in memory at a time.
    """
    import torch
    from safetensors.torch import load_file, save_file

    def kept(name: str, index: int) -> Path:
        return context.scratch / f"{name}-{index}.safetensors"

    apart: dict[str, list[Tensor]] = {name: [] for name in beside}  # two rows: KL, whether the top token is the same
    for index, said in enumerate(_log_probs(context, model, prompts)):
        for name in beside:
            other = load_file(kept(name, index))["log_probs"]
            kl = (other.exp() * (other - said)).sum(-1).clamp(min=0)
            apart[name].append(torch.stack([kl, other.argmax(-1) == said.argmax(-1)]).double())
        if keep:
            save_file({"log_probs": said}, kept(keep, index))
    return {name: _summed(torch.cat(parts, dim=1), len(prompts.ids)) for name, parts in apart.items()}


def _log_probs(context: StepContext, model: Module, prompts: Prompts) -> Iterator[Tensor]:
    """Next-token log-probabilities of each prompt, [length, vocabulary], float32, on the CPU."""
    import torch

    where = next(model.parameters()).device
    for done, ids in enumerate(prompts.ids):
        if context.stopping():
            raise Interrupted("merging stopped", next="the same command starts it again")
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids], device=where), use_cache=False).logits[0]
        yield logits.float().log_softmax(-1).cpu()
        context.progress(done + 1, len(prompts.ids), "prompt")


def _summed(apart: Tensor, prompts: int) -> dict[str, Any]:
    kl, same = apart
    return {
        "kl_mean": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same_top": float(same.mean()),
        "prompts": prompts,
        "positions": len(kl),
    }


def judge(measured: Mapping[str, Any]) -> None:
    """Raises MergeError when the merged model is further from base and adapter than rounding can explain."""
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
    if witness := measured.get("witness"):
        _judge_witness(**witness)


def _judge_witness(kl: float, kl_of_training: float, base_in: str) -> None:
    """What was saved must be what was learned. A base in NF4 says something else by its rounding alone, so nothing is
    asked of it."""
    limits = {
        "float32": max(KL_AT_MOST, SHARE_OF_TRAINING * kl_of_training),
        "bfloat16": max(KL_OF_BF16, kl_of_training / 2),
    }
    if not kl <= limits.get(base_in, float("inf")):
        raise MergeError(
            f"the merged model is not the one that was trained: mean KL {kl:.2e} from what that said at the end",
            why=f"At most {limits[base_in]:.2e} was expected, after training over a base in {base_in}; the base itself "
            f"is {kl_of_training:.2e} away. What was saved is not what was in memory.",
            next="report this with train.adapter and the name of the base model",
        )
