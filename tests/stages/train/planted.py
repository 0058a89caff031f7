"""A worker of a training by several processes with something planted in it: ``planted.py WHAT <descriptor> <process
id>``; of more than one thing, ``THIS+THAT``."""

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


def give_answers(answer_to: Any) -> None:
    """Instead of generating: answers that the prompt, the step and their number in the group decide."""
    from variantforge.stages.train.generating import Generating

    def given(self: Any, prompts: list[list[int]], *args: Any) -> tuple[list[list[int]], None]:
        from variantforge.stages.train.processes import ranks

        self._new_answers = True
        first, step = ranks.rank() * len(prompts), self.state.global_step
        places = [(first + number) % self.num_generations for number in range(len(prompts))]
        answers = [answer_to(self, prompt, step, place) for prompt, place in zip(prompts, places, strict=True)]
        return answers, None

    Generating._generate_single_turn = given  # type: ignore[method-assign]


def a_few_words(trainer: Any, prompt: list[int], step: int, place: int) -> list[int]:
    """Of two to six tokens of small_words; some end."""
    import random

    drawn = random.Random(f"{prompt} {step} {place}")
    return [drawn.randrange(20, 200) for _ in range(drawn.randint(2, 5))] + [1] * drawn.randint(0, 1)


def a_program(trainer: Any, prompt: list[int], step: int, place: int) -> list[int]:
    """Right, wrong, and broken."""
    text = ("def f(x):\n    return x + 1", "def f(x):\n    return x - 1", "def f(x):\n    return 1 / 0", "def f(x")
    return [*trainer.processing_class.encode(text[place % 4], add_special_tokens=False), 1]


def ask_too_much() -> None:
    """From the fourth step on, rank 1 asks for more memory than there is, until the micro-batch was halved."""
    import torch

    from variantforge.stages.train.trainer import Careful

    step = Careful.training_step

    def training_step(self: Careful, *args: Any) -> Any:
        if RANK == 1 and self.state.global_step >= 3 and not (self.context.scratch / "halved.json").exists():
            torch.empty(1 << 55, dtype=torch.uint8)
        return step(self, *args)

    Careful.training_step = training_step  # type: ignore[method-assign]


TOLD = "accelerate: "


def tell_accelerate() -> None:
    """Prints what accelerate has understood, and ends there."""
    import json

    from variantforge.errors import TrainError
    from variantforge.stages.train.trainer import Careful

    create = Careful.create_accelerator_and_postprocess

    def created(self: Careful) -> None:
        create(self)
        state = self.accelerator.state
        names = ("num_processes", "process_index", "local_process_index", "is_main_process", "is_local_main_process")
        told: dict[str, Any] = {name: getattr(state, name) for name in names}
        told |= {"distributed_type": state.distributed_type.value, "backend": state.backend}
        told |= {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT")}
        if fsdp := state.fsdp_plugin if self.is_fsdp_enabled else None:
            names = ("fsdp_version", "reshard_after_forward", "activation_checkpointing", "min_num_params")
            told |= {name: getattr(fsdp, name) for name in names}
            told["cpu_offload"] = type(fsdp.cpu_offload).__name__
            told["auto_wrap_policy"] = getattr(fsdp.auto_wrap_policy, "func", fsdp.auto_wrap_policy).__name__
        if self.is_deepspeed_enabled:
            told["deepspeed"] = state.deepspeed_plugin.deepspeed_config
        sys.stdout.write(TOLD + json.dumps(told) + "\n")
        raise TrainError("told")

    Careful.create_accelerator_and_postprocess = created  # type: ignore[method-assign]


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
    elif fault == "tells accelerate":
        tell_accelerate()
    elif fault == "given answers":
        give_answers(a_few_words)
    elif fault == "given programs":
        give_answers(a_program)
    elif fault == "asks too much":
        ask_too_much()
    else:
        raise AssertionError(fault)


if __name__ == "__main__":
    from variantforge.stages.train.processes import worker

    for fault in sys.argv.pop(1).split("+"):
        plant(fault)
    worker.main()
