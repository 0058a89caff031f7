"""The memory of one training step: what is held at each of its moments, term by term; the largest is its peak.

forward     all activations are there, and the head scores the last tile; gradients of earlier micro-batches too
backward    the last layer is turned back: its working set, beside what the others kept
update      gradients of everything, and what the optimizer needs for one step
checkpoint  the optimizer's states once more, as they are written
generation  of grpo: the keys and values of all answers being written
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from variantforge.plan.estimate.activations import layer_bytes, stream_bytes
from variantforge.plan.estimate.adapter import Trained, trained
from variantforge.plan.estimate.head import head_bytes
from variantforge.plan.estimate.optimizer import state_bytes, temporary_bytes, trained_matrices
from variantforge.plan.estimate.recipe import WITH_REFERENCE, Recipe
from variantforge.plan.estimate.shape import Shape, UnknownShape

_FLOAT, _BF16 = 4, 2
_ROUGH = frozenset({"orpo", "distill"})
# bitsandbytes' NF4 with double quantization: half a byte, a byte for each block of 64, and a float32 for each 256 of
# those (Dettmers et al., "QLoRA", 2305.14314, section 3).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# What a process holds beside tensors: Python with torch, transformers, peft and trl, and for every byte of tensors what
# the C library keeps of freed ones and what matrix products take for themselves. `process_bytes`, as measured in
# benchmarks/results/memory.json; on CUDA the figures are those of torch's allocator, which has neither.
PROCESS_BYTES = {"cpu": 520_000_000, "cuda": 0}
SLACK = {"cpu": 0.10, "cuda": 0.0}


@dataclass(frozen=True)
class Memory:
    """``moments``: name -> term -> bytes of tensors. ``process``, ``slack``: what comes on top, in all and for every
    byte. ``rough``: not an architecture whose memory was measured, or one that it does not hold for."""

    moments: Mapping[str, Mapping[str, float]]
    process: int
    slack: float
    rough: bool

    @cached_property
    def moment(self) -> str:
        """When the peak is reached."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def terms(self) -> Mapping[str, float]:
        """What the peak is made of, largest first."""
        terms = {**self.moments[self.moment], "python and libraries": float(self.process)}
        terms["freed, and not given back"] = self.slack * self.tensors
        return dict(sorted(((name, size) for name, size in terms.items() if size), key=lambda term: -term[1]))

    @property
    def tensors(self) -> int:
        return round(sum(self.moments[self.moment].values()))

    @property
    def peak(self) -> int:
        return round(self.tensors * (1 + self.slack)) + self.process


def memory_of(shape: Shape, recipe: Recipe, teacher: Shape | None = None) -> Memory:
    """``teacher``: of the model whose logits are learned. Raises UnknownShape for what cannot be estimated: kinds of
    adapters and optimizers that are not known here."""
    on = trained(shape, recipe.adapter)
    resident = {"base weights": base_bytes(shape, recipe), **_adapter(on, recipe), **_optimizer(shape, on, recipe)}
    if teacher:
        resident["teacher weights"] = float(_teacher_width(recipe) * teacher.parameters)
    gradients = float(_FLOAT * on.parameters)
    kept = _kept(shape, recipe, on)
    casts = {"weights in bf16": _casts(shape, recipe, on)}
    head = head_bytes(shape, recipe, on)
    earlier = {"gradients": gradients if recipe.accumulation > 1 else 0.0}
    largest = max((size for size in map(_elements, shape.tensors.values())), default=0) if recipe.full else 0
    working = temporary_bytes(recipe.optim, recipe.device, on.parameters, largest)
    moments = {
        "forward": {**resident, **casts, **kept, **earlier, "logits": head},
        "backward": {**resident, **casts, **kept, **earlier, "working set": _working(shape, recipe, on)},
        "update": {**resident, "gradients": gradients, "working set": working},
        "checkpoint": {**resident, "copy of optimizer states": resident["optimizer states"]},
    }
    if recipe.method == "grpo":
        moments["generation"] = {**resident, "cache of keys and values": _cache(shape, recipe)}
    return Memory(moments, PROCESS_BYTES[recipe.device], SLACK[recipe.device], _rough(shape, recipe))


def _teacher_width(recipe: Recipe) -> int:
    return _BF16 if recipe.autocast else _FLOAT


def _rough(shape: Shape, recipe: Recipe) -> bool:
    """On the CPU matrix products of experts, each of another height, take a few hundred MB more than is known here; so
    do a teacher's, and all logits at once."""
    return not shape.known or (recipe.device == "cpu" and (bool(shape.experts) or recipe.method in _ROUGH))


def _cache(shape: Shape, recipe: Recipe) -> float:
    """Keys and values of all layers, for every answer that is written at once: those of one optimizer step."""
    answers = recipe.rows * int(recipe.args.get("steps_per_generation") or recipe.accumulation)
    return float(2 * shape.layers * shape.key * answers * recipe.length * recipe.base_width)


def _elements(size: tuple[int, ...]) -> int:
    count = 1
    for length in size:
        count *= length
    return count


def base_bytes(shape: Shape, recipe: Recipe) -> float:
    """NF4 for the linear layers of the body under qlora, bf16 for all else there; one width for all otherwise."""
    if not recipe.nf4:
        return float(recipe.base_width * shape.parameters)
    return nf4_bytes(shape)


def nf4_bytes(shape: Shape) -> float:
    """Linear layers of the body in NF4, with double quantization; embeddings, head, norms and experts in bf16."""
    return NF4_BYTES * shape.linear_elements + _BF16 * (shape.parameters - shape.linear_elements)


def _adapter(on: Trained, recipe: Recipe) -> dict[str, float]:
    """Adapters are float32; under autocast their casts are kept until the backward pass."""
    if recipe.full:
        return {}
    return {"adapter": float(_FLOAT * on.parameters)}


def _optimizer(shape: Shape, on: Trained, recipe: Recipe) -> dict[str, float]:
    linears = [(linear.outputs, linear.inputs) for linear in on.linears]
    matrices = trained_matrices(shape, None if recipe.full else recipe.adapter.r, linears)
    states = state_bytes(recipe.optim, on.parameters, matrices)
    if states is None:
        raise UnknownShape(f"what the optimizer {recipe.optim} keeps is not known here")
    return {"optimizer states": states}


def _casts(shape: Shape, recipe: Recipe, on: Trained) -> float:
    """Casts that autocast makes of float32 weights, and that are kept for the backward pass: of adapters, and of the
    base's layers where it is held in float32."""
    if not recipe.autocast:
        return 0.0
    base = shape.linear_elements + shape.expert_elements if recipe.base_width > recipe.width else 0
    return float(recipe.width * (base if recipe.full else base + on.parameters))


def _kept(shape: Shape, recipe: Recipe, on: Trained) -> dict[str, float]:
    """Activations of all layers; with checkpointing the stream between them. And the last norm's, which the head
    takes."""
    last = recipe.tokens * shape.hidden * float(_FLOAT + recipe.base_width)
    each = stream_bytes(shape, recipe) if recipe.checkpointing else layer_bytes(shape, recipe, on)
    return {"activations": shape.layers * each + last, **_reference(shape, recipe, on)}


def _reference(shape: Shape, recipe: Recipe, on: Trained) -> dict[str, float]:
    """A frozen copy of the base to compare with, where all weights are trained; with an adapter, the base itself is
    it. None where its log-probabilities are worked out before the first step."""
    idle = recipe.args.get("precompute_ref_log_probs") or (recipe.method == "grpo" and not recipe.args.get("beta"))
    if recipe.method in WITH_REFERENCE and recipe.full and not idle:
        return {"reference model": float((_BF16 if recipe.autocast else _FLOAT) * shape.parameters)}
    return {}


def _working(shape: Shape, recipe: Recipe, on: Trained) -> float:
    """One layer turned back: gradients of its widest part; recomputed first, where activations are checkpointed."""
    widest = (
        max(shape.intermediate, 2 * shape.query)
        if not shape.experts
        else shape.experts_per_token * (2 * shape.expert_intermediate + shape.hidden)
    )
    gradients = recipe.tokens * recipe.width * float(2 * widest)
    return gradients + (layer_bytes(shape, recipe, on) if recipe.checkpointing else 0.0)
