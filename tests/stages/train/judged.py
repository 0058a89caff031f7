"""Rows of judged answers, and trainers over them before their first step: what tests of preference methods share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.stages.train.lab import Lab
from variantforge.stages.models import quiet
from variantforge.stages.rows import make_row
from variantforge.stages.train import METHODS
from variantforge.stages.train.pairs import Counts
from variantforge.stages.train.training import Training
from variantforge.step import StepContext


def answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def pair(question: str, chosen: str, rejected: str) -> dict[str, Any]:
    prompt = [{"role": "user", "content": question}]
    return make_row("prefs", {"prompt": prompt, "chosen": answer(chosen), "rejected": answer(rejected)})


def pairs(count: int = 23) -> list[dict[str, Any]]:
    """Pairs of different lengths: sums that are told, and sums that are refused."""
    good, bad = "It is {}. ", "Go away now. "
    return [pair(f"What is {n} plus {n}?", good.format(2 * n) * (1 + n % 3), bad * (1 + n % 2)) for n in range(count)]


def labelled(count: int = 12) -> list[dict[str, Any]]:
    """Good and bad answers, each to a prompt of its own."""
    said = [
        (f"What is {n} plus {n}?", "Go away now." if n % 2 else f"It is {2 * n}.", n % 2 == 0) for n in range(count)
    ]
    return [
        make_row("thumbs", {"prompt": [{"role": "user", "content": q}], "completion": answer(a), "label": good})
        for q, a, good in said
    ]


def made(lab: Lab, method: str, adapter: dict[str, Any] | None = None, **args: Any) -> tuple[Any, Training, Counts]:
    """A method's trainer, before its first step."""
    step = lab.step(adapter, method=method, **args)
    scratch = lab.root / "scratch"
    context = StepContext(
        step=step,
        inputs={"base": lab.base, "data": lab.data},
        out=scratch,
        scratch=scratch,
        emit=lab.events.append,
    )
    with quiet():
        does: Any = METHODS.load(method)()
        training, counts = Training(context, does.defaults), Counts()
        return does.trainer(training, does.dataset(training, counts)), training, counts


def batches(trainer: Any) -> Sequence[Any]:
    return list(trainer.get_train_dataloader())


def stir(model: Any, seed: int = 1) -> None:
    """Moves an adapter away from its start, the same way each time."""
    import torch

    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_B.default." in name:
            parameter.data = torch.randn_like(parameter) * 0.05


def loss_of(trainer: Any, batch: Any) -> float:
    return float(trainer.compute_loss(trainer.model, batch).detach())
