"""What every Trainer here does beyond its library's: finite steps, counts and progress, and, with ``order.py`` and
``keeping.py``, its order of rows and its checkpoints.

``Careful`` is mixed into the trainer class of a method: ``type("…", (Careful, SFTTrainer), {})``. It overrides only
methods that transformers' Trainer calls at well-defined places, and adds nothing to what is learned. A method whose
batches are of another form brings a subclass with its own ``count`` or ``shown``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from variantforge.errors import Interrupted, LossSpike, NonFiniteLoss, TrainError
from variantforge.stages.train.adapters import require_reached
from variantforge.stages.train.keeping import Keeping
from variantforge.stages.train.order import FilledOrder, InOrder
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.spikes import IN_A_ROW, Spikes
from variantforge.step import StepContext

Names = Callable[[list[int]], list[str]]


class Careful(InOrder, Keeping):
    """Mixed in before a subclass of transformers' Trainer. Call ``watch`` before ``train``."""

    shown: tuple[str, ...] = ("loss", "tokens_per_s", "learning_rate", "grad_norm")  # metrics that progress tells of
    is_fsdp_enabled: bool

    def watch(self, context: StepContext, warmup: float | None, row_names: Names) -> None:
        """``warmup``: share of all steps, unless the user said. ``row_names``: positions -> names for messages."""
        self.context, self._warmup, self._row_names = context, warmup, row_names
        self._micro_losses: list[float] = []
        self._spikes = Spikes()
        self.tokens = self.supervised_tokens = 0  # of all processes, once a step is done
        self._counted = (0, 0)
        self._since: tuple[float, int] | None = None

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        if self._warmup is not None:
            self.args.warmup_steps = int(self._warmup * num_training_steps)
        return super().create_scheduler(num_training_steps, *args, **kwargs)  # type: ignore[misc]

    # --- processes ----------------------------------------------------------------------------------------------

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        if self.args.fsdp and not self.is_fsdp_enabled:
            ranks.shard_anyway(self.accelerator, self.args)
            self.is_fsdp_enabled = True

    def _require_shards(self) -> None:
        if self.args.fsdp and not any(ranks.in_shards(parameter) for parameter in self.model.parameters()):
            raise TrainError(
                "FSDP was asked for, and not one weight is sharded",
                why="Libraries leave it out without a word on devices that they do not support.",
                next="remove resources.accelerate.fsdp: each process then holds the whole base (DDP)",
            )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> Any:
        self._require_shards()
        return super()._run_epoch(*args, **kwargs)

    # --- steps --------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        self._since = self._since or (time.monotonic(), self.tokens)
        tokens, supervised = self.count(inputs)
        self.tokens, self.supervised_tokens = self.tokens + tokens, self.supervised_tokens + supervised
        loss = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        self._micro_losses.append(float(loss))
        return loss

    def count(self, inputs: Any) -> tuple[int, int]:
        """Tokens of a micro-batch, and how many of them are learned from."""
        padded = "attention_mask" in inputs
        tokens = int(inputs["attention_mask"].sum()) if padded else inputs["input_ids"].numel()
        learned = inputs["labels"] != -100 if "labels" in inputs else inputs["completion_mask"] != 0
        return tokens, int(learned[:, 1:].sum())

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Called with all gradients there and before the optimizer's step: the last moment to stop."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        loss = self._sum_over_processes()
        scaled = self.accelerator.scaler is not None  # fp16: the scaler expects overflows, and skips such steps
        if not math.isfinite(loss) or not (scaled or math.isfinite(float(norm))):
            raise self._not_finite(loss, float(norm))
        if self.state.global_step == 0 and self.args.world_size == 1:
            require_reached(self.model)
        if self._spikes.add(loss):
            self._tell_spike(loss)
        return norm

    def _sum_over_processes(self) -> float:
        """The step's loss, the same for all. Counts of tokens are those of all from here on, without fillers."""
        losses, self._micro_losses = self._micro_losses, []
        (tokens, supervised), filled = self._counted, self._filled_tokens()
        loss, more, learned = ranks.summed([sum(losses), self.tokens - tokens, self.supervised_tokens - supervised])
        self._counted = (tokens + round(more) - filled, supervised + round(learned))
        self.tokens, self.supervised_tokens = self._counted
        return loss / ranks.world()

    def _filled_tokens(self) -> int:
        """Tokens of the rows that fill this step up, of all processes."""
        if not isinstance(self._order, FilledOrder) or (self.state.global_step + 1) % self._steps_of_an_epoch:
            return 0
        return int(self._order.fillers * len(self._filler[0]["input_ids"]))

    def _tell_spike(self, loss: float) -> None:
        step, limit = self.state.global_step + 1, self._spikes.limit
        told = (
            f"the loss is {loss:.3f} at step {step} of {self.state.max_steps}, above {limit:.3f} for {IN_A_ROW} steps"
        )
        if self._goes_on_regardless:
            if self._spikes.high == IN_A_ROW:
                self.context.note(told)
            return
        raise LossSpike(
            told,
            why="Its range is told by the steps before. The step was not taken, and the last checkpoint is from before "
            f"the rise. Rows of this step: {self._shown_rows()}.",
            next="lower train.args.learning_rate or max_grad_norm; or go on regardless with train: {on_spike: note}",
        )

    def _not_finite(self, loss: float, norm: float) -> NonFiniteLoss:
        step = self.state.global_step + 1
        return NonFiniteLoss(
            f"the loss is not finite at step {step} of {self.state.max_steps} (loss {loss}, gradient norm {norm})",
            why=f"The step was not taken, and nothing was saved from it. Its rows: {self._shown_rows()}.",
            next="look at those rows, or lower train.args.learning_rate; then run the same command again",
        )

    def _shown_rows(self) -> str:
        rows = self._rows_of_step()
        return ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")

    def _rows_of_step(self) -> list[str]:
        return self._row_names(self.positions_of_step())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._since:
            seconds = time.monotonic() - self._since[0]
            logs["tokens_per_s"] = round((self.tokens - self._since[1]) / max(seconds, 1e-9), 1)
        super().log(logs, start_time)  # type: ignore[misc]
        metrics = {name: logs[name] for name in self.shown if name in logs}
        if metrics:
            self.context.progress(self.state.global_step, self.state.max_steps, "step", **metrics)


def stop_callback(context: StepContext) -> Any:
    """Polled at each step: when the user asked to stop, save, then raise Interrupted."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]
        asked = False

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            asked = ranks.anyone(context.stopping())
            self.asked = asked and state.global_step < state.max_steps  # after the last: end in peace
            control.should_save = control.should_save or self.asked
            control.should_log = control.should_log or control.should_save  # the log must not straddle a checkpoint
            return control

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if self.asked:
                kept = not args.deepspeed
                raise Interrupted(
                    f"training stopped at step {state.global_step} of {state.max_steps}",
                    why="A checkpoint of this step was written." if kept else "DeepSpeed's state is not kept.",
                    next=f"the same command {'goes on from there' if kept else 'begins anew'}",
                )
            return control

    return Stop()
