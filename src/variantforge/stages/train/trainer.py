"""What every Trainer here does beyond its library's: order, checkpoints, finite steps, progress.

``Careful`` is mixed into the trainer class of a method: ``type("…", (Careful, SFTTrainer), {})``. It overrides only
methods that transformers' Trainer calls at well-defined places, and adds nothing to what is learned. A method whose
batches are of another form brings a subclass with its own ``count`` or ``shown``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted, LossSpike, NonFiniteLoss, TrainError
from variantforge.stages.train import checkpoints
from variantforge.stages.train.adapters import require_reached, trainable
from variantforge.stages.train.order import EpochOrder, FilledOrder
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.spikes import IN_A_ROW, Spikes
from variantforge.step import StepContext

Names = Callable[[list[int]], list[str]]


class Careful:
    """Mixed in before a subclass of transformers' Trainer. Call ``watch`` before ``train``."""

    args: Any
    state: Any
    model: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any
    train_dataset: Any
    shown: tuple[str, ...] = ("loss", "tokens_per_s", "learning_rate", "grad_norm")  # metrics that progress tells of
    knows_processes = False  # whether the library's sampler already counts the processes, or is one of one process
    is_fsdp_enabled: bool
    _order: EpochOrder
    _filler: Any = None

    def watch(self, context: StepContext, warmup: float | None, row_names: Names) -> None:
        """``warmup``: share of all steps, unless the user said. ``row_names``: positions -> names for messages."""
        self.context, self._warmup, self._row_names = context, warmup, row_names
        self._micro_losses: list[float] = []
        self._spikes = Spikes()
        self.tokens = self.supervised_tokens = 0  # of all processes, once a step is done
        self._counted = (0, 0)
        self._since: tuple[float, int] | None = None

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

    # --- data order ---------------------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        """The order is that of one process: of the whole training set, in windows of the global batch."""
        seed, args = self.args.data_seed if self.args.data_seed is not None else self.args.seed, self.args
        steps = args.gradient_accumulation_steps
        args.gradient_accumulation_steps = steps if self.knows_processes else self._micro_batches_of_a_step
        inner = super()._get_train_sampler(train_dataset if self._filler is None else self._unfilled)  # type: ignore[misc]
        args.gradient_accumulation_steps = steps
        self._order = EpochOrder(inner, seed)
        if self._filler is not None:
            self._order = FilledOrder(inner, seed, args.per_device_train_batch_size * ranks.world())
        return self._order

    def get_train_dataloader(self) -> Any:
        """Where one process of several would have rows more than another, rows that teach nothing fill up."""
        self._filler, self._unfilled = self.filler() if ranks.world() > 1 else None, self.train_dataset
        if self._filler is None:
            return self._tell_repeated(super().get_train_dataloader())  # type: ignore[misc]
        from datasets import concatenate_datasets

        self.train_dataset = concatenate_datasets([self._unfilled, self._filler])
        try:
            return super().get_train_dataloader()  # type: ignore[misc]
        finally:
            self.train_dataset = self._unfilled

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> Any:
        self._require_shards()
        self._order.set_epoch(epoch)  # a shard of a loader that goes on within an epoch does not pass it on
        return super()._run_epoch(*args, epoch=epoch, **kwargs)  # type: ignore[misc]

    def _tell_repeated(self, loader: Any) -> Any:
        """accelerate fills up with the first rows of an epoch."""
        repeated = -len(self._order) % (self.args.per_device_train_batch_size * ranks.world())
        if ranks.world() > 1 and repeated:
            self.context.note(
                f"the last step of each epoch learns its first {f'{repeated} rows' if repeated > 1 else 'row'} once "
                f"more, so that all processes have equally many: {len(self._order)} rows do not come out even"
            )
        return loader

    def filler(self) -> Any:
        """A dataset of one row like the training set's that teaches nothing; None where a method has no such row."""
        return None

    @property
    def _micro_batches_of_a_step(self) -> int:
        """Of all processes."""
        return int(self.args.gradient_accumulation_steps) * ranks.world()

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        if self._warmup is not None:
            self.args.warmup_steps = int(self._warmup * num_training_steps)
        return super().create_scheduler(num_training_steps, *args, **kwargs)  # type: ignore[misc]

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

    @property
    def _goes_on_regardless(self) -> bool:
        return bool(self.context.step.hints.get("on_spike") == "note")

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

    def positions_of_step(self) -> list[int]:
        """Where in the dataset the rows of the step being done stand."""
        rows_per_step = self.args.per_device_train_batch_size * self._micro_batches_of_a_step
        first = (self.state.global_step % self._steps_of_an_epoch) * rows_per_step
        return self._order.order(self._order.epoch)[first : first + rows_per_step]

    @property
    def _steps_of_an_epoch(self) -> int:
        rows, size = len(self._order.inner), self.args.per_device_train_batch_size
        batches = rows // size if self.args.dataloader_drop_last else math.ceil(rows / size)
        steps: int = math.ceil(batches / self._micro_batches_of_a_step)
        return max(1, steps)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._since:
            seconds = time.monotonic() - self._since[0]
            logs["tokens_per_s"] = round((self.tokens - self._since[1]) / max(seconds, 1e-9), 1)
        super().log(logs, start_time)  # type: ignore[misc]
        metrics = {name: logs[name] for name in self.shown if name in logs}
        if metrics:
            self.context.progress(self.state.global_step, self.state.max_steps, "step", **metrics)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """None after the last step: the library would train one step more when it goes on from there. And none while
        the loss is above its range: what is kept is from before. And none of DeepSpeed's state, which lies in parts."""
        at_end, too_high = self.state.global_step >= self.state.max_steps, self._spikes.high
        if self.args.deepspeed or at_end or (too_high and not self._goes_on_regardless):
            return
        place = checkpoints.checkpoint_path(Path(self.args.output_dir), self.state.global_step)
        self.store_flos()  # type: ignore[attr-defined]
        weights = {name: ranks.whole(parameter) for name, parameter in trainable(self.model)}
        everything = self._everything()
        if ranks.writes():
            checkpoints.write_checkpoint(place, weights, everything, lambda path: self.state.save_to_json(str(path)))
            checkpoints.rotate(place.parent, keep=self.args.save_total_limit)
        ranks.wait_for_all()  # one that is asked to stop does so after it was written

    def _everything(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "optimizer": ranks.whole_tree(self.optimizer.state_dict()),
            "scheduler": self.lr_scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random": ranks.told_by_all(checkpoints.random_states()),
            "counts": [self.tokens, self.supervised_tokens],
            "losses": [list(self._spikes.losses), self._spikes.high],
        }

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        import torch

        saved = checkpoints.read_weights(Path(resume_from_checkpoint))
        with torch.no_grad():
            for name, parameter in trainable(self.model):
                parameter.copy_(ranks.like(parameter, saved[name]))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        saved = checkpoints.read_state(Path(checkpoint))
        self.optimizer.load_state_dict(self._laid_out(saved["optimizer"]))
        self.lr_scheduler.load_state_dict(saved["scheduler"])
        if saved["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.tokens, self.supervised_tokens = saved["counts"]
        self._counted = (self.tokens, self.supervised_tokens)
        self._spikes = Spikes(*saved["losses"])

    def _laid_out(self, saved: dict[str, Any]) -> dict[str, Any]:
        """An optimizer's state with every tensor as its parameter is: in shards, where that is."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

        def laid_out(parameter: Any, value: Any) -> Any:
            of_its_shape = getattr(value, "shape", None) == parameter.shape
            return ranks.like(parameter, value) if of_its_shape else value

        state = {
            index: {name: laid_out(parameters[index], value) for name, value in values.items()}
            for index, values in saved["state"].items()
        }
        return {**saved, "state": state}

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Done with the optimizer."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        states, rank = checkpoints.read_state(Path(checkpoint))["random"], ranks.rank()  # of each that there was
        checkpoints.restore_random_states(states[rank % len(states)])
        if rank >= len(states):
            _begin_apart(rank)


def _begin_apart(rank: int) -> None:
    """Generators of a process that was not there when the checkpoint was written: a function of another's, and not the
    same, or both would write the same answers to the same prompts."""
    import torch
    from transformers import set_seed

    set_seed((int(torch.randint(1 << 31, ())) + rank) % (1 << 32))


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
