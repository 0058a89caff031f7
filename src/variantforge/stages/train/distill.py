"""Distillation of a teacher's logits (Hinton et al. 2015; on the student's own answers, Agarwal et al. 2023,
arXiv:2306.13649), on TRL's DistillationTrainer.

Of every token of an answer, the student's distribution over the whole vocabulary is drawn to the teacher's, by a
generalized Jensen-Shannon divergence: ``beta`` 0 is KL(teacher || student), 1 is KL(student || teacher), TRL's default.

``train.answers`` says whose answers: the student's own, generated at every step (TRL's way: it learns where its own
words lead), or those of the rows (no generation: a step costs little more than one of SFT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.errors import NoSupervisedTokens, TrainError
from variantforge.spec.family import RowsDataset
from variantforge.stages.data.formats import kind_of_format
from variantforge.stages.stage import Place
from variantforge.stages.teachers import pinned_teacher
from variantforge.stages.tokens import load_tokenizer, tokenize_prompt
from variantforge.stages.train.answering import AnsweredByRows, AnsweredByStudent
from variantforge.stages.train.examples import IGNORED, read_examples
from variantforge.stages.train.method import Needs
from variantforge.stages.train.pairs import columns
from variantforge.stages.train.preference import every, pad_id, rates, refusals, tell_untrainable_head
from variantforge.stages.train.teaching import Closeness, load_teacher, prove_same_tokens
from variantforge.stages.train.training import Training, first_and_last
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import TrainSpec, VariantSpec
    from variantforge.stages.stage import Desk

ROWS = "rows"  # train.answers
METRICS = ("loss", "entropy", "completions/mean_length", "completions/clipped_ratio")


class Distill:
    """The student's next-token distribution becomes the teacher's."""

    version = 1
    rows: tuple[str, ...] = ("messages", "prompt_only")
    defaults: Mapping[str, Any] = {"learning_rate": 1e-4, "max_completion_length": 256}

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        train = variant.train
        tell_untrainable_head(desk, train)
        _tell_unanswered_rows(desk, variant)
        for argument, text in _wrong_arguments(train):
            desk.problem(f"{desk.at_key}.train.args.{argument}", text)
        if train.teacher is None:
            desk.problem(f"{desk.at_key}.train.method", "distill learns from a teacher: name it in train.teacher")
            return None
        key = f"{desk.at_key}.train.teacher"
        teacher = pinned_teacher(desk, train.teacher, Place("base", name, "teacher"), key, student=name)
        if teacher is None:
            return None
        return Needs({"answers": ROWS} if train.answers == ROWS else {}, inputs={"teacher": teacher.key})

    def train(self, context: StepContext) -> None:
        training = Training(context, rates(context.step.params["adapter"].get("type", "lora"), self.defaults))
        pad_id(training)
        asked = _Asked(training)
        dataset = asked.dataset()
        trainer = self.trainer(training, dataset)
        closeness = Closeness(training, trainer)
        before = closeness.measured()
        training.run(trainer)
        after = closeness.measured()
        training.save(trainer)
        facts = training.facts(trainer, rows=len(dataset), rows_dropped=asked.dropped, rows_cut=asked.cut)
        objective = {"kl": {"first": before, "last": after}, **first_and_last(trainer, *METRICS)}
        context.write_facts({**facts, "objective": objective, "kl": closeness.facts})

    def trainer(self, training: Training, dataset: Any) -> Any:
        """Before its first step. Raises TokenizersDiffer."""
        from trl import DistillationTrainer

        folder = training.context.inputs["teacher"].path / "model"
        prove_same_tokens(training.tokenizer, load_tokenizer(folder))
        model = training.model()
        model.generation_config.eos_token_id = list(training.stop_ids)  # each of them ends an answer
        teacher = load_teacher(folder, model, bf16=training.config.bf16).to(training.device)
        careful = AnsweredByRows if _answers(training) == ROWS else AnsweredByStudent
        with refusals():
            return training.trainer(DistillationTrainer, dataset, careful=careful, model=model, teacher_model=teacher)


def _answers(training: Training) -> str:
    return str(training.context.step.params.get("answers", "student"))


class _Asked:
    """The rows as what the trainer is fed. ``cut``: answers cut off; ``dropped``: rows left out."""

    def __init__(self, training: Training) -> None:
        self.training, self.cut, self.dropped = training, 0, 0

    def dataset(self) -> Any:
        """Columns ``id`` and ``prompt`` (token ids), of answered rows ``completion`` and ``learned`` too.

        Raises WrongRows, NoSupervisedTokens, WrongSupervisedSpan, ..., and TrainError for fewer rows than a step takes.
        """
        training = self.training
        answered = _answers(training) == ROWS
        rows = self._answered() if answered else list(self._prompts())
        if not rows:
            raise NoSupervisedTokens("there are no rows to train on", next="look at the variant's data.mix")
        self._prove_one_step(len(rows))
        if self.cut:
            limit = training.config.max_completion_length
            training.context.note(f"rows trained with a cut answer, as it is longer than {limit} tokens: {self.cut}")
        return columns(rows)

    def _prompts(self) -> Iterator[dict[str, Any]]:
        for row in every(self.training, list(self.training.rows(Distill.rows))):
            name = f"row {row['id']} of '{row['source']}'"
            yield {"id": row["id"], "prompt": prompt_ids(self.training.tokenizer, row, name)}

    def _answered(self) -> list[dict[str, Any]]:
        training, limit = self.training, self.training.config.max_completion_length
        rows = list(training.rows(("messages",)))
        examples = read_examples(training.context, rows, training.tokenizer, training.stop_ids, slice(None))
        found = []
        for name, ids, labels in zip(examples.ids, examples.input_ids, examples.labels, strict=True):
            learned = [label != IGNORED for label in labels]
            start = learned.index(True)
            end = len(ids) if limit is None else start + limit
            self.cut += any(learned[end:])
            found.append(
                {"id": name, "prompt": ids[:start], "completion": ids[start:end], "learned": learned[start:end]}
            )
        self.dropped = examples.dropped
        return found

    def _prove_one_step(self, rows: int) -> None:
        """TRL takes whole steps of rows alone; what is left at the end of an epoch waits for the next one."""
        config = self.training.config
        step = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
        if rows < step:
            raise TrainError(
                f"there are {rows} rows, and one step of distill takes {step}",
                why="per_device_train_batch_size times gradient_accumulation_steps, and TRL takes no smaller step.",
                next="lower one of them in train.args, or give the variant more rows",
            )
        if rows % step:
            self.training.context.note(
                f"rows left out of each epoch, as TRL takes whole steps of {step}: {rows % step}"
            )


def prompt_ids(tokenizer: Any, row: Mapping[str, Any], name: str) -> list[int]:
    """What comes before a row's last answer, as at inference: all messages of a row that has none."""
    messages = row.get("prompt") or row["messages"]
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    asked = messages[: answers[-1]] if "messages" in row and answers else messages
    return tokenize_prompt(tokenizer, asked, row.get("tools"), name=name)


def _tell_unanswered_rows(desk: Desk, variant: VariantSpec) -> None:
    if variant.train.answers != ROWS:
        return
    for dataset in variant.data.sources:
        section = desk.family.datasets.get(dataset)
        if isinstance(section, RowsDataset) and kind_of_format(section.format) == "prompt_only":
            why = f"'{dataset}' holds prompts without answers: set it to student, or use rows with answers"
            desk.problem(f"{desk.at_key}.train.answers", why)


def _wrong_arguments(train: TrainSpec) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what TRL would notice too late, or never."""
    args = train.args
    beta = args.get("beta", 1.0)
    if isinstance(beta, int | float) and not 0 <= beta <= 1:
        yield "beta", "from 0 (KL of the teacher from the student) to 1 (KL of the student from the teacher)"
    temperature = args.get("temperature", 1.0)
    if isinstance(temperature, int | float) and temperature <= 0:
        yield "temperature", "above 0: the student's answers are sampled, and both distributions divided by it"
    length = args.get("max_completion_length", 1)
    if isinstance(length, int) and length < 1:
        yield "max_completion_length", "at least 1 token"
