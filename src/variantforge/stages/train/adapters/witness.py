"""A trained model's own words: what it says, in memory, to a few fixed sequences, kept beside the adapter.

Whatever may go wrong between here and the merged model on disk (a tensor that was not saved, a scale that is read
differently, a base that is another one) shows as a difference from these.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

WITNESS = "witness.safetensors"
_SEQUENCES, _LENGTH, _TOKENS = 4, 24, 512


@dataclass(frozen=True)
class Witness:
    """``log_probs``: [positions, tokens] over a fixed choice of tokens, float32. ``precision``: the base's weights'."""

    log_probs: Tensor
    precision: str


def write_witness(model: Any, folder: Path, precision: str) -> None:
    """Lets the model speak. Does nothing for one whose weights lie in parts on several devices."""
    from safetensors.torch import save_file

    if not _in_parts(model):
        save_file({"log_probs": speak(model)}, folder / WITNESS, metadata={"precision": precision})


def read_witness(folder: Path) -> Witness | None:
    """None where nothing was kept."""
    from safetensors import safe_open

    if not (folder / WITNESS).is_file():
        return None
    with safe_open(folder / WITNESS, framework="pt") as file:
        return Witness(file.get_tensor("log_probs"), (file.metadata() or {}).get("precision", ""))


def speak(model: Any) -> Tensor:
    """Log-probabilities of the next token, [positions, tokens], float32, on the CPU."""
    import torch

    size = int(model.config.get_text_config().vocab_size)
    ids = torch.randint(0, size, (_SEQUENCES, _LENGTH), generator=torch.Generator().manual_seed(0))
    chosen = torch.linspace(0, size - 1, min(_TOKENS, size)).long()
    where, was_training = next(model.parameters()).device, model.training
    half = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    model.eval()
    with torch.no_grad(), torch.autocast(where.type, dtype=torch.bfloat16, enabled=half):
        logits = [model(input_ids=row[None].to(where), use_cache=False).logits[0] for row in ids]
    model.train(was_training)
    return torch.cat(logits).float().cpu()[:, chosen].log_softmax(-1).contiguous()


def divergence(reference: Tensor, other: Tensor) -> float:
    """Mean KL(reference || other) in nats, among the chosen tokens."""
    return float((reference.exp() * (reference - other)).sum(-1).clamp(min=0).double().mean())


def _in_parts(model: Module) -> bool:
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())
