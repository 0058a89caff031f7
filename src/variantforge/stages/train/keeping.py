"""What a Trainer keeps of a training, and how one goes on from it: ``checkpoints.py`` has the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from variantforge.stages.train import checkpoints
from variantforge.stages.train.adapters import trainable
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.spikes import Spikes
from variantforge.step import StepContext


class Keeping:
    """Of a Trainer: checkpoints of all that the next step depends on. A part of ``Careful``."""

    args: Any
    state: Any
    model: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any
    context: StepContext
    tokens: int
    supervised_tokens: int
    _counted: tuple[int, int]
    _spikes: Spikes

    @property
    def _goes_on_regardless(self) -> bool:
        return bool(self.context.step.hints.get("on_spike") == "note")

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
