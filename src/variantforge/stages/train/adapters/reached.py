"""Whether the gradient reaches what is to be trained.

A part of a model may stay untrained for ever while the loss looks normal, since the other parts learn. It happened
here: a forward pass in eval mode made bitsandbytes (0.50, on CPUs with AVX-512 BF16) repack the 4-bit weights for
inference, and from then on no gradient passed through them. Only two of seven modules of each layer learned anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.errors import UnreachedModules
from variantforge.stages.train.adapters.modules import trainable

if TYPE_CHECKING:
    from torch.nn import Module


def require_reached(model: Module) -> None:
    """Called with the gradients of a step there. Raises UnreachedModules when a module with an adapter has none."""
    reached: dict[str, bool] = {}
    for name, parameter in trainable(model):
        if ".default" not in name:
            continue  # no adapter's
        module, gradient = _module_of(name), parameter.grad
        reached[module] = reached.get(module, False) or (gradient is not None and bool(gradient.any()))
    silent = sorted(module for module, there in reached.items() if not there)
    if silent and len(silent) < len(reached):
        kinds = sorted({module.rpartition(".")[2] for module in silent})
        raise UnreachedModules(
            f"the gradient does not reach {len(silent)} of {len(reached)} modules: {', '.join(kinds)}",
            why=f"They would stay as they are while the loss looks normal. The first is {silent[0]}.",
            next=f"where the model does not use them, set train.adapter.exclude_modules: [{', '.join(kinds)}]",
        )


def _module_of(name: str) -> str:
    """``base_model.model.layers.0.q_proj.lora_A.default.weight`` -> ``layers.0.q_proj``."""
    return name.removeprefix("base_model.model.").partition(".default")[0].rpartition(".")[0]
