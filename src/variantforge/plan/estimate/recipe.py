"""What of a train step's parameters decides over memory: batch, length, precision, optimizer, adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from variantforge.plan.estimate.machine import Machine
from variantforge.plan.estimate.shape import UnknownShape
from variantforge.spec.family import AdapterSpec
from variantforge.stages.train import METHODS
from variantforge.stages.train.config import effective_args
from variantforge.step import Step

DEFAULT_OPTIM = "adamw_torch_fused"  # transformers 5, for torch 2.8 and later
# Methods that run rows in pairs: a chosen and a rejected answer, or a row and its mismatched twin.
PAIRED = frozenset({"dpo", "orpo"})
# Methods that compare with the base as it was: the base itself with its adapter off, or a second copy (full).
WITH_REFERENCE = frozenset({"dpo", "kto", "grpo"})
_ESTIMATED = frozenset({"sft", "continued", "dpo", "kto", "orpo", "grpo", "distill"})


@dataclass(frozen=True)
class Recipe:
    """``rows`` [of a micro-batch] x ``length`` tokens; ``width`` is the size in bytes of a number in the arithmetic."""

    method: str
    adapter: AdapterSpec
    device: str
    rows: int
    length: int
    accumulation: int
    packing: bool
    checkpointing: bool
    attention: str
    optim: str
    width: int
    base_width: int
    autocast: bool
    args: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """In one micro-batch."""
        return self.rows * self.length

    @property
    def full(self) -> bool:
        return self.adapter.type == "full"

    @property
    def nf4(self) -> bool:
        return self.adapter.over_nf4

    @property
    def masked(self) -> bool:
        """Whether attention is handed a mask: batches with rows of several lengths, and packed ones."""
        return self.packing or self.rows > 1


def recipe_of(step: Step, machine: Machine, longest: int | None = None, attention: str = "sdpa") -> Recipe:
    """``longest``: a bound on the tokens of the longest row, where the rows are known. Raises UnknownShape."""
    if step.method not in _ESTIMATED:
        raise UnknownShape(f"what {step.method} holds beside its base is not known here")
    adapter = AdapterSpec(**step.params["adapter"])
    args = effective_args(adapter, step.params["args"], METHODS.load(step.method)().defaults)
    bf16 = bool(args.get("bf16", not args.get("fp16") and machine.bf16))
    half = bf16 or bool(args.get("fp16"))
    length, packing = _length(args, longest), bool(args.get("packing"))
    base_width = 2 if adapter.over_nf4 or (bf16 and not adapter.over_float32) else 4
    return Recipe(
        method=step.method,
        adapter=adapter,
        device=machine.device,
        rows=int(args["per_device_train_batch_size"]) * (2 if step.method in PAIRED else 1),
        length=length,
        accumulation=int(args.get("gradient_accumulation_steps", 1)),
        packing=packing,
        checkpointing=bool(args.get("activation_checkpointing", args.get("gradient_checkpointing", False))),
        attention=attention,
        optim=str(args.get("optim", DEFAULT_OPTIM)),
        width=2 if half or base_width == 2 else 4,
        base_width=base_width,
        autocast=half,
        args=args,
    )


def _length(args: Mapping[str, Any], longest: int | None) -> int:
    limit = args.get("max_length")
    if args.get("max_completion_length") and not limit:  # grpo: prompts are not cut by default
        limit = int(args["max_completion_length"]) + int(args.get("max_prompt_length") or 512)
    if limit is None and longest is None:
        raise UnknownShape("max_length is null, and the rows were not read yet")
    if limit is None:
        return int(longest or 0)
    return int(limit) if longest is None or args.get("packing") else min(int(limit), longest)
