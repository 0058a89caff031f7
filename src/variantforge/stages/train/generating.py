"""A trainer that learns from its own answers: exact resume of what it generates, and samples of it kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.fsops import append_text, write_text
from variantforge.stages.train import checkpoints
from variantforge.stages.train.order import EpochOrder
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.processes.generation import generated
from variantforge.stages.train.trainer import Careful

COMPLETIONS = "completions.jsonl"
_SAMPLES_A_STEP, _STEPS_TOLD, _LONGEST = 4, 200, 4000


class Reseeded:
    """TRL's RepeatSampler, whose generator goes on from epoch to epoch, begun anew for each: a pure function again."""

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner, self._seed = inner, seed

    def set_epoch(self, epoch: int) -> None:
        if self.inner.shuffle:
            self.inner.generator.manual_seed((self._seed << 20) + epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


class Generating(Careful):
    """Mixed in before GRPOTrainer. ``prompt_ids`` (row id -> tokens) and ``samples`` are set before ``train``."""

    shown: tuple[str, ...] = ("reward", "loss", "completions/mean_length", "tokens_per_s", "learning_rate", "grad_norm")
    knows_processes = True
    prompt_ids: Mapping[str, list[int]]
    samples: Samples
    reward_func_names: list[str]
    reward_funcs: list[Any]
    _logs: Mapping[str, Any]
    _step: int
    _buffered_inputs: Any
    entropy_coef: float
    _last_world_entropy: float
    ref_model: Any
    _new_answers = False

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        order = super()._get_train_sampler(train_dataset)
        order.inner = Reseeded(order.inner, order.seed)
        return order

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The ids that were proven, in place of TRL's own rendering: a prompt is the name of its row here."""
        return [self.prompt_ids[name] for name in prompts], None, {}

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """In the precision that answers are then scored in: adapters are float32 over a base in bf16."""
        self._new_answers = True
        with self.accelerator.autocast():
            return generated(self, super()._generate_single_turn, *args, **kwargs)  # type: ignore[misc]

    # --- steps --------------------------------------------------------------------------------------------------

    def count(self, inputs: Any) -> tuple[int, int]:
        return 0, 0  # of the micro-batch before it is answered

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        self._rows_answered = [row["id"] for row in generation_batch]
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)  # type: ignore[misc]
        learned = int(inputs["completion_mask"].sum())
        self.tokens += int(inputs["prompt_mask"].sum()) + learned
        self.supervised_tokens += learned
        return inputs

    def _rows_of_step(self) -> list[str]:
        told = ranks.told_by_all(self._rows_answered)
        return list(dict.fromkeys(name for names in told for name in names))

    @property
    def _goes_on_regardless(self) -> bool:
        return True

    def _tell_spike(self, loss: float) -> None:
        """None: this loss has no range. It is near zero whatever is learned; what counts is the reward."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if "loss" in logs and self._new_answers:  # some settings learn from the same answers again
            if ranks.writes():
                self.samples.keep(self.state.global_step, self.state.max_steps, self._logs)  # of all processes
            self._new_answers = False

    # --- checkpoints --------------------------------------------------------------------------------------------

    def _everything(self) -> dict[str, Any]:
        """With answers that are still to be learned from, and what TRL and the rewards have counted."""
        every = self.args.steps_per_generation * self.num_iterations  # type: ignore[attr-defined]
        return {
            **super()._everything(),
            "passes": [self._step, self.args.gradient_accumulation_steps],
            "answers": ranks.told_by_all(_moved(self._buffered_inputs, "cpu")) if self._step % every else None,
            "entropy": [self.entropy_coef, self._last_world_entropy],
            "reasons": reasons(self.reward_funcs),
            "reference": self.ref_model.state_dict() if self.args.sync_ref_model else None,  # it follows the model
        }

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        saved = checkpoints.read_state(Path(checkpoint))
        passes, accumulation = saved["passes"]
        now = self.args.gradient_accumulation_steps  # more, where memory did not suffice
        self._step = passes * now // accumulation
        answers = saved["answers"]
        if answers is not None and len(answers) == ranks.world():  # others would share them otherwise
            pieces = _cut(answers[ranks.rank()], self.args.steps_per_generation)
            self._buffered_inputs = _moved(pieces, self.accelerator.device)
        self.entropy_coef, self._last_world_entropy = saved["entropy"]
        if saved["reference"] is not None:
            self.ref_model.load_state_dict(saved["reference"])
        for scorer in self.reward_funcs:
            scorer.reasons.clear()
            if ranks.rank() == 0:  # the counts of all: one goes on with them
                scorer.reasons.update(saved["reasons"][scorer.__name__])


def reasons(scorers: Sequence[Any]) -> dict[str, dict[str, int]]:
    """Of each reward, how many answers it said something about, by what it said ("timeout": 12), in all processes."""
    told = ranks.told_by_all({scorer.__name__: dict(scorer.reasons) for scorer in scorers})
    counted = {scorer.__name__: sum((Counter(each[scorer.__name__]) for each in told), Counter()) for scorer in scorers}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}


def _cut(batches: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The same answers in the same order, in so many micro-batches."""
    import torch
    from trl.trainer.utils import split_tensor_dict

    def joined(name: str) -> Any:
        values = [batch[name] for batch in batches]
        return torch.cat(values) if isinstance(values[0], torch.Tensor) and values[0].ndim else values[0]

    pieces: list[dict[str, Any]] = split_tensor_dict({name: joined(name) for name in batches[0]}, count)
    return pieces


def _moved(batches: Any, place: Any) -> Any:
    """Buffered micro-batches, their tensors elsewhere."""
    return [
        {name: value.to(place) if hasattr(value, "to") else value for name, value in batch.items()} for batch in batches
    ]


class Samples:
    """A few answers of each logged step, with their rewards, as JSON lines; of long runs, of some 200 steps."""

    def __init__(self, path: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self.path, self._rows, self._begun = path, rows, False

    def keep(self, step: int, of: int, logs: Mapping[str, Any]) -> None:
        """``logs``: TRL's record of the last answers."""
        if not self._begun:
            self._forget_from(step)
        if step == 1 or step % max(1, of // _STEPS_TOLD) == 0:
            append_text(self.path, "".join(map(_line, self._chosen(step, logs))))

    def _chosen(self, step: int, logs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Of the first groups, the best and the worst answer."""
        names, advantages = list(logs["prompt"]), list(logs["advantages"])
        for name in list(dict.fromkeys(names))[: _SAMPLES_A_STEP // 2]:
            group = [place for place, one in enumerate(names) if one == name]
            best, worst = (choose(group, key=lambda place: (advantages[place], -place)) for choose in (max, min))
            for place in dict.fromkeys((best, worst)):
                yield self._sample(step, name, place, logs)

    def _sample(self, step: int, name: str, place: int, logs: Mapping[str, Any]) -> dict[str, Any]:
        rewards = {reward: _plain(values[place]) for reward, values in logs["rewards"].items()}
        said = {column: values[place] for column, values in logs["extra"].items() if values[place]}
        prompt = self._rows[name]["prompt"]
        return {
            "step": step,
            "row": name,
            "prompt": str(prompt[-1].get("content") or "")[:_LONGEST],
            "completion": logs["completion"][place][:_LONGEST],
            "rewards": rewards,
            "advantage": _plain(logs["advantages"][place]),
            "said": said,
        }

    def _forget_from(self, step: int) -> None:
        """What an earlier try told of this step and later ones is told again."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        before = [line for line in lines if json.loads(line)["step"] < step]
        write_text(self.path, "".join(f"{line}\n" for line in before))
        self._begun = True


def _plain(value: float) -> float | None:
    return None if value != value else round(value, 6)


def _line(sample: Mapping[str, Any]) -> str:
    return json.dumps(sample, ensure_ascii=True, allow_nan=False) + "\n"
