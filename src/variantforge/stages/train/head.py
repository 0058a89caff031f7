"""The language-model head where there is no Triton: only positions that are learned from, and each product once.

TRL's fused head scores every position on such devices and computes each tile of logits twice, forward and backward.
With a vocabulary of 49,152 that is most of a small model's step. Here the log-probabilities *and* their gradients with
respect to the hidden states come from one pass over the supervised positions:

    logits = h W^T,  log p = logit[y] - logsumexp(logits),  d log p / d h = W[y] - softmax(logits) W

The numbers are TRL's; the first batch proves it, or TRL's own head is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

_TILE_BYTES = 128 << 20  # of float32 logits at a time
_SCALES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
_PROOF_POSITIONS = 256  # compared: TRL's tiles, 4,096 positions high, would cost 2 GB at a vocabulary of 49,152
_AGREES = 1e-2  # relative difference of the mean log-probability: bf16 products, summed in another order


def compact_head(model: Any, note: Callable[[str], None]) -> None:
    """Puts the compact head on a model that has TRL's fused one; does nothing where TRL's is as good or better.

    Left alone: devices with Triton, heads that are trained, and architectures that scale or cap their logits.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    head, config = inner.get_output_embeddings(), inner.config.get_text_config()
    scaled = any(getattr(config, name, None) not in (None, 1, 1.0) for name in _SCALES)
    if head.weight.device.type != "cpu" or head.weight.requires_grad or head.bias is not None or scaled:
        return
    theirs, state = inner.forward, {"proven": False}

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head or args or kwargs.get("shift_labels") is not None or kwargs.get("output_router_logits"):
            extra = {} if labels is None else {"labels": labels}
            return theirs(*args, **extra, fused_lm_head=fused_lm_head, **kwargs)
        if not state["proven"]:
            state["proven"] = True
            if not _agree(self, theirs, labels, kwargs):
                note("the compact head does not agree with TRL's on this architecture; TRL's own is used")
                inner.forward = theirs
                return theirs(labels=labels, fused_lm_head=True, **kwargs)
        return _outputs(self, labels, kwargs)

    inner.forward = MethodType(forward, inner)


def _outputs(model: Any, labels: Any, kwargs: dict[str, Any]) -> Any:
    """TRL's FusedCausalLMOutput; per-token fields of shape [batch, length - 1], zero where nothing is learned."""
    from trl.trainer.utils import FusedCausalLMOutput

    count = kwargs.pop("num_items_in_batch", None)
    hidden = model.base_model(**{**kwargs, "use_cache": False}).last_hidden_state[:, :-1]
    mask = labels[:, 1:] != -100
    fields = score(hidden[mask], model.get_output_embeddings().weight, labels[:, 1:][mask])
    log_probs, entropy, is_top1 = (field.new_zeros(mask.shape).masked_scatter(mask, field) for field in fields)
    loss = -log_probs.sum() / (mask.sum().clamp(min=1) if count is None else count)
    return FusedCausalLMOutput(loss=loss, log_probs=log_probs, entropy=entropy, is_top1=is_top1, label_mask=mask)


def score(hidden: Any, weight: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Log-probability, entropy and is-it-the-top of each target. hidden [N, H], weight [V, H], targets [N] -> 3 x [N].

    ``weight`` must be frozen: the log-probabilities carry a gradient to ``hidden`` alone.
    """
    import torch

    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    states, table = hidden.detach().to(dtype), weight.detach().to(dtype)
    rows = max(1, _TILE_BYTES // (4 * len(table)))
    parts = zip(states.split(rows), targets.split(rows), strict=True)
    tiles = [_score_tile(part, table, target) for part, target in parts]
    log_probs, entropy, is_top1, slopes = (torch.cat(column) for column in zip(*tiles, strict=True))
    if hidden.requires_grad and torch.is_grad_enabled():
        # adds exactly zero, and carries the gradient: d/dh (h . slope) = slope
        line = (hidden.float() * slopes).sum(-1)
        log_probs = log_probs + (line - line.detach())
    return log_probs, entropy, is_top1


def _score_tile(states: Any, table: Any, targets: Any) -> tuple[Any, Any, Any, Any]:
    """states [n, H], table [V, H], targets [n] -> log p, entropy, is_top1 [n], and d log p / d h [n, H]."""
    import torch

    with torch.no_grad(), torch.autocast("cpu", enabled=False):  # sums stay in float32
        logits = (states @ table.t()).float()
        chosen, top = logits.gather(-1, targets[:, None])[:, 0], logits.amax(-1)
        log_z = logits.logsumexp(-1)
        probabilities = logits.sub_(log_z[:, None]).exp()  # and logits are log-probabilities from here
        entropy = -torch.linalg.vecdot(probabilities, logits)
        slopes = table[targets].float() - (probabilities.to(table.dtype) @ table).float()
    return chosen - log_z, entropy, (chosen >= top).float(), slopes


def _agree(model: Any, theirs: Callable[..., Any], labels: Any, kwargs: dict[str, Any]) -> bool:
    """Whether both heads give the same log-probabilities for a part of a batch; leaves the random generator as it
    was."""
    import torch

    labels, kwargs = _sample(labels, kwargs)
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        ours = _outputs(model, labels, dict(kwargs)).log_probs.sum()
        trl = theirs(labels=labels, fused_lm_head=True, **kwargs).log_probs.sum()
    model.train(was_training)
    return bool((ours - trl).abs() <= _AGREES * trl.abs() + 1e-6)


def _sample(labels: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The part of a batch that begins with the first position learned from; all of it, where not every input can be
    cut like ``labels`` [batch, length]."""
    import torch

    tensors = {name: value for name, value in kwargs.items() if isinstance(value, torch.Tensor) and value.dim()}
    learned = (labels[:, 1:] != -100).nonzero()
    if not len(learned) or any(tensor.shape != labels.shape for tensor in tensors.values()):
        return labels, kwargs
    row, column = learned[0].tolist()
    part = (slice(row, row + 1), slice(column, column + 1 + _PROOF_POSITIONS))
    return labels[part], {**kwargs, **{name: tensor[part] for name, tensor in tensors.items()}}
