"""A worker of a training by several processes with a fault in it: ``planted.py FAULT <descriptor> <process id>``."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

RANK = int(os.environ.get("RANK", "0"))


def at_step(number: int, does: Any) -> None:
    """Rank 1 does something at a step."""
    from variantforge.stages.train.trainer import Careful

    step = Careful.training_step

    def training_step(self: Careful, model: Any, inputs: dict[str, Any], *args: Any) -> Any:
        if RANK == 1 and self.state.global_step + 1 == number:
            does(inputs)
        return step(self, model, inputs, *args)

    Careful.training_step = training_step  # type: ignore[method-assign]


def dies(inputs: dict[str, Any]) -> None:
    sys.stdout.write("the last thing that was said\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def breaks(inputs: dict[str, Any]) -> None:
    raise KeyError("of nobody's making")


def grows(inputs: dict[str, Any]) -> None:
    import torch

    if len(inputs["input_ids"]) > 1:
        torch.empty(1 << 55, dtype=torch.uint8)


def spoil_loss(number: int) -> None:
    """Of rank 1 alone."""
    from variantforge.stages.train.trainer import Careful

    step = Careful.training_step

    def training_step(self: Careful, *args: Any) -> Any:
        loss = step(self, *args)
        if RANK == 1 and self.state.global_step + 1 == number:
            self._micro_losses[-1] = float("nan")
        return loss

    Careful.training_step = training_step  # type: ignore[method-assign]


def save(part: Any) -> None:
    """Instead of whole tensors, what this process has of them."""
    from variantforge.stages.train import training
    from variantforge.stages.train.processes import ranks

    gather = ranks.whole

    def trained_weights(trainer: Any) -> Any:
        ranks.whole = part
        weights = gathered(trainer)
        ranks.whole = gather
        return weights

    gathered, training.trained_weights = training.trained_weights, trained_weights


def plant(fault: str) -> None:
    if fault == "dies":
        at_step(3, dies)
    elif fault == "breaks":
        at_step(3, breaks)
    elif fault == "grows":
        at_step(4, grows)
    elif fault == "nan":
        spoil_loss(5)
    elif fault == "its shard":
        save(lambda tensor: tensor.detach().to_local().clone())
    elif fault == "empty":
        save(lambda tensor: tensor.detach().to_local()[:0].clone())
    else:
        raise AssertionError(fault)


if __name__ == "__main__":
    from variantforge.stages.train.processes import worker

    plant(sys.argv.pop(1))
    worker.main()
