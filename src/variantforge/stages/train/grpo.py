"""Group relative policy optimization (Shao et al. 2024, arXiv:2402.03300), on TRL's GRPOTrainer.

The model answers each prompt ``num_generations`` times; rewards say what every answer is worth; answers better than the
mean of their group become likelier, worse ones less likely. Prompts are tokenized here, as at inference; rewards are
rows of REWARDS, and what they cannot score ends the training instead of counting as zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from variantforge.errors import NothingRewarded, TrainError
from variantforge.fsops import copy_file
from variantforge.stages.rows import kind_of
from variantforge.stages.tokens import tokenize_prompt
from variantforge.stages.train.config import effective_args
from variantforge.stages.train.generating import COMPLETIONS, Generating, Samples, reasons
from variantforge.stages.train.method import Needs
from variantforge.stages.train.preference import (
    drop_reference,
    every,
    plain_copies,
    rates,
    refusals,
    tell_untrainable_head,
)
from variantforge.stages.train.processes import ranks, shared
from variantforge.stages.train.scoring import Scorer, planned, scorers_of
from variantforge.stages.train.smaller import MICRO_BATCH
from variantforge.stages.train.training import Training
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import TrainSpec, VariantSpec
    from variantforge.stages.stage import Desk


class Grpo:
    """Answers that rewards like better become likelier."""

    version = 1
    rows: tuple[str, ...] = ("prompt_only", "messages")
    takes_rewards = True
    defaults: Mapping[str, Any] = {"learning_rate": 1e-5, "num_generations": 8, "max_completion_length": 512}

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        tell_untrainable_head(desk, variant.train)
        for argument, text in _wrong_arguments(variant.train, self.defaults):
            desk.problem(f"{desk.at_key}.train.args.{argument}", text)
        for argument, text in _wrong_shares(variant, self.defaults):
            desk.problem(f"{desk.at_key}.train.args.{argument}", text)
        return planned(desk, variant.train.rewards)

    def train(self, context: StepContext) -> None:
        training = Training(context, rates(context.step.params["adapter"].get("type", "lora"), self.defaults))
        scorers, model = scorers_of(context.step), training.model()
        rows = self.prompts(training, model)
        trainer = self.trainer(training, model, rows, scorers)
        training.run(trainer)
        drop_reference(trainer.model)
        _prove_something_was_learned(trainer)
        training.save(trainer)
        if ranks.writes():
            copy_file(trainer.samples.path, context.out / COMPLETIONS)
        facts = training.facts(trainer, rows=len(rows), rows_dropped=self.dropped, rows_cut=0)
        context.write_facts({**facts, "objective": objective(trainer), "rewards": reasons(scorers)})

    def prompts(self, training: Training, model: Any) -> dict[str, tuple[dict[str, Any], list[int]]]:
        """Row id -> the row with its prompt (and, of a chat, its last answer as ``answer``), and the prompt's tokens.

        Prompts that leave no room for an answer are left out. Raises DataError, TrainError where too few are left.
        """
        context, config = training.context, training.config
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        room = window - config.max_completion_length if window else None
        found: dict[str, tuple[dict[str, Any], list[int]]] = {}
        self.dropped = 0
        for row in every(training, [asked(row) for row in training.rows(self.rows)]):
            ids = tokenize_prompt(training.tokenizer, row["prompt"], row.get("tools"), name=f"row {row['id']}")
            if room is None or len(ids) <= room:
                found[row["id"]] = (row, ids)
            else:
                self.dropped += 1
        if self.dropped:
            context.note(f"rows left out, as prompt and max_completion_length exceed {window} tokens: {self.dropped}")
        _prove_enough(len(found), config)
        return found

    def trainer(self, training: Training, model: Any, rows: Mapping[str, Any], scorers: list[Scorer]) -> Any:
        """Before its first step."""
        from datasets import Dataset
        from trl import GRPOTrainer

        training.config.reward_weights = [scorer.weight for scorer in scorers]
        model.generation_config.eos_token_id = training.stop_ids
        for scorer in scorers:
            scorer.read(row for row, _ in rows.values())
        names = list(rows)
        with plain_copies(model) if training.adapter.type != "full" else nullcontext(), refusals():
            trainer = training.trainer(
                GRPOTrainer,
                Dataset.from_dict({"id": names, "prompt": names}),
                careful=Generating,
                model=model,
                reward_funcs=list(scorers),
            )
        if not training.adapter.rewrites_base:
            drop_reference(model)
        trainer.prompt_ids = {name: ids for name, (_, ids) in rows.items()}
        trainer.samples = Samples(
            training.context.scratch / COMPLETIONS, {name: row for name, (row, _) in rows.items()}
        )
        return trainer


def asked(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a prompt: a chat without its last answer, which rewards may read as ``answer``."""
    if kind_of(row) == "prompt_only":
        return row
    *prompt, last = row["messages"]
    tools = {"tools": row["tools"]} if "tools" in row else {}
    return {"id": row["id"], "source": row["source"], "prompt": prompt, "answer": last.get("content") or "", **tools}


def objective(trainer: Any) -> dict[str, Any]:
    """Means over the first and the last tenth of what was logged, and the share of groups that taught nothing."""
    names = ["reward", "reward_std", "completions/mean_length", "completions/clipped_ratio", "kl", "entropy"]
    names += [f"rewards/{name}/mean" for name in trainer.reward_func_names]
    told: dict[str, Any] = {}
    for name in names:
        values = _logged(trainer, name)
        if values:
            tenth = max(1, len(values) // 10)
            first, last = values[:tenth], values[-tenth:]
            told[name] = {"first": sum(first) / tenth, "last": sum(last) / tenth}
    same = _logged(trainer, "frac_reward_zero_std")
    return {**told, "groups_of_one_reward": sum(same) / len(same)} if same else told


def _logged(trainer: Any, name: str) -> list[float]:
    return [event[name] for event in trainer.state.log_history if event.get(name) is not None]


def _prove_enough(count: int, config: Any) -> None:
    wanted = config.generation_batch_size // config.num_generations
    if count < wanted:
        raise TrainError(
            f"{count} prompts are too few: one step answers {wanted}",
            why=f"A step is {config.generation_batch_size} answers, {config.num_generations} to each prompt; "
            "what does not fill one is left out.",
            next="add prompts, lower train.args.gradient_accumulation_steps, or raise num_generations",
        )


def _prove_something_was_learned(trainer: Any) -> None:
    """Raises NothingRewarded when no group had two different rewards: then not one weight has moved for a reason."""
    same = _logged(trainer, "frac_reward_zero_std")
    if same and min(same) == 1.0:
        rewards = sorted({round(value, 6) for value in _logged(trainer, "reward")})
        raise NothingRewarded(
            "every answer to a prompt got the same reward, in every step: there was nothing to learn from",
            why=f"Rewards seen: {', '.join(map(str, rewards[:5]))}. Some answers are in "
            f"{trainer.samples.path}, with what each reward said.",
            next="choose rewards that some answers get and others do not, easier prompts, or more num_generations",
        )


def _wrong_arguments(train: TrainSpec, defaults: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what TRL would refuse only once the training starts."""
    args = effective_args(train.adapter, train.args, defaults)
    yield from _wrong_batches(args)
    if args.get("use_vllm") and find_spec("vllm") is None:
        yield "use_vllm", "the package vllm is not installed"
    if args.get("sync_ref_model") and (train.adapter.type != "full" or not args.get("beta")):
        yield "sync_ref_model", "there is a reference to move only when all weights are trained with beta above 0"


def _wrong_batches(args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sizes = ("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
    whole = [args.get(name) for name in (*sizes, "generation_batch_size")]
    if not all(value is None or (isinstance(value, int) and value > 0) for value in whole):
        return  # another check tells of it
    group, micro, accumulation, steps, batch = whole
    if group is None or micro is None or accumulation is None:
        return
    if group < 2:
        yield "num_generations", "at least 2 answers to each prompt are compared with each other"
    if steps and batch:
        yield "generation_batch_size", "set this or steps_per_generation, not both"
    elif batch and batch % micro:
        yield "generation_batch_size", f"{batch} is no multiple of per_device_train_batch_size {micro}"
    elif (answers := batch or micro * (steps or accumulation)) % group:
        how = "" if batch else f" (per_device_train_batch_size {micro} x {steps or accumulation})"
        yield "num_generations", f"{answers} answers a step{how} are no whole groups of {group}"


def _wrong_shares(variant: VariantSpec, defaults: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what several processes could not do together."""
    processes = variant.resources.processes
    args = effective_args(variant.train.adapter, variant.train.args, defaults)
    own = shared(args, processes) if processes > 1 else {}
    if not own:  # one process, or a number of them that is told of elsewhere
        return
    if args.get("sync_ref_model") and variant.resources.accelerate.fsdp is not None:
        yield "sync_ref_model", "a reference that moves is not kept in shards: remove it, or resources.accelerate.fsdp"
    together = own[MICRO_BATCH] * processes
    steps, batch = args.get("steps_per_generation"), args.get("generation_batch_size")
    if not all(value is None or isinstance(value, int) for value in (steps, batch)):
        return  # another check tells of it
    if steps and steps * args[MICRO_BATCH] % together:
        least = together // args[MICRO_BATCH]
        yield "steps_per_generation", f"{processes} processes do {least} of these at once: set a multiple of {least}"
    elif batch and batch % together:
        yield "generation_batch_size", f"{processes} processes take {together} answers at once: set a multiple of it"
