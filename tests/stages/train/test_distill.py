from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.train.lab import IM_END, Lab, adapter_bytes, base_artifact, losses, sums
from tests.tiny import tiny_model
from variantforge.errors import NoSupervisedTokens, TokenizersDiffer, TrainError, WrongRows
from variantforge.stages.models import load_model, quiet
from variantforge.stages.rows import make_row
from variantforge.stages.tokens import load_tokenizer, tokenize_prompt
from variantforge.stages.train.distill import Distill, _Asked
from variantforge.stages.train.stage import STAGE
from variantforge.stages.train.teaching import load_teacher, prove_same_tokens
from variantforge.stages.train.training import Training
from variantforge.step import Artifact, Step, StepContext

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
QUICK = {"learning_rate": 1e-2, "max_completion_length": 8, "temperature": 1.0}
ROWS = {"answers": "rows"}


def opinionated(folder: Path) -> Path:
    """The student with an opinion of its own, of rank 1: half of a layer's numbers speak for forty tokens."""
    import torch

    model: Any = load_model(tiny_model(folder, small=True))
    with torch.no_grad():
        weight = model.model.layers[-1].mlp.down_proj.weight
        wanted = model.model.embed_tokens.weight[260:300].sum(0)
        weight += 40 * torch.outer(
            wanted / wanted.norm(), torch.ones(weight.shape[1]) - 2 * (torch.arange(weight.shape[1]) % 2)
        )
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


class School(Lab):
    """A lab with a teacher."""

    def __init__(self, root: Path, model: Path, teacher: Path, rows: Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__(root, model, rows)
        self.teacher = base_artifact(teacher, root / "teacher")

    def lesson(self, params: dict[str, Any] | None = None, **args: Any) -> Step:
        plain = self.step(method="distill", **{**QUICK, **args})
        inputs = {**plain.inputs, "teacher": self.teacher.key}
        return Step("train", 1, "distill", {**plain.params, **(params or {})}, inputs)

    def taught(self, step: Step, place: str, **context: Any) -> Artifact:
        import shutil

        shutil.rmtree(self.root / place / "train", ignore_errors=True)
        inputs = {"base": self.base, "data": self.data, "teacher": self.teacher}
        return do_step(STAGE, step, self.root / place, inputs, **{"emit": self.events.append, **context})

    def begun(self, step: Step) -> tuple[Any, Training]:
        """A trainer before its first step."""
        scratch = self.root / "scratch"
        inputs = {"base": self.base, "data": self.data, "teacher": self.teacher}
        context = StepContext(step=step, inputs=inputs, out=scratch, scratch=scratch, emit=self.events.append)
        with quiet():
            training = Training(context, Distill.defaults)
            return Distill().trainer(training, _Asked(training).dataset()), training


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> School:
    root = tmp_path_factory.mktemp("distill")
    return School(root, tiny_llama, opinionated(root / "opinionated"))


@pytest.fixture(scope="module")
def by_student(school: School) -> Artifact:
    return school.taught(school.lesson({"adapter": {"dropout": 0.1}}), "by student")


# --- what it does -------------------------------------------------------------------------------------------------


def test_on_the_students_own_answers_its_distance_from_the_teacher_falls(by_student: Artifact) -> None:
    told = by_student.facts["objective"]
    assert told["kl"]["last"] < 0.95 * told["kl"]["first"]
    assert told["loss"]["last"] < 0.95 * told["loss"]["first"]
    assert by_student.facts["kl"] == {"on": "heldout", "rows": 6, "tokens": by_student.facts["kl"]["tokens"]}
    assert by_student.facts["steps"] == 10  # 23 rows are 5 whole steps of 4, twice


def test_on_the_answers_of_the_rows_it_falls_too(school: School) -> None:
    trained = school.taught(school.lesson(ROWS, beta=0.0, num_train_epochs=3, max_completion_length=64), "by rows")
    told = trained.facts["objective"]
    assert told["kl"]["last"] < 0.7 * told["kl"]["first"]
    assert losses(trained)[0] == pytest.approx(told["kl"]["first"], rel=0.15)  # beta 0 is KL(teacher || student)
    assert (trained.facts["rows"], trained.facts["rows_cut"], trained.facts["rows_dropped"]) == (23, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"type": "full"}, {"type": "qlora"}, {"type": "dora"}])
def test_whatever_is_trained_comes_nearer_to_the_teacher(school: School, adapter: dict[str, Any]) -> None:
    if adapter["type"] == "qlora":
        pytest.importorskip("bitsandbytes")
    step = school.lesson({**ROWS, "adapter": adapter}, learning_rate=1e-3 if adapter["type"] == "full" else 1e-2)
    told = school.taught(step, adapter["type"]).facts["objective"]
    assert told["kl"]["last"] < 0.95 * told["kl"]["first"]


@pytest.mark.slow
def test_a_killed_run_samples_the_same_answers_and_ends_with_the_same_bytes(
    school: School, by_student: Artifact
) -> None:
    class Killed(BaseException):
        pass

    def emit(event: dict[str, Any]) -> None:
        if event.get("unit") == "step" and event["done"] == 7 and event["metrics"].get("loss"):
            raise Killed

    step = school.lesson({"adapter": {"dropout": 0.1}})
    with pytest.raises(Killed):
        school.taught(step, "killed", emit=emit)
    again = school.taught(step, "killed")
    assert "going on from checkpoint-6" in school.notes
    assert losses(again) == losses(by_student)
    assert adapter_bytes(again) == adapter_bytes(by_student)
    assert again.facts == by_student.facts


# --- the very tokens ----------------------------------------------------------------------------------------------


def test_the_student_is_asked_the_prompts_as_at_inference_and_its_answers_end_at_a_stop_token(school: School) -> None:
    trainer, training = school.begun(school.lesson())
    wanted = {tuple(tokenize_prompt(training.tokenizer, row["messages"][:1])) for row in sums()}
    trainer.model.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    for ids, real in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True):
        assert tuple(ids[real == 1].tolist()) in wanted
    assert IM_END in trainer.generation_config.eos_token_id
    assert trainer.tokens == int(batch["prompt_mask"].sum() + batch["completion_mask"].sum())


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_loss_is_the_divergence_over_the_learned_tokens(school: School, beta: float) -> None:
    """Worked out here from logits of both models, by the formula of the paper."""
    import torch

    step = school.lesson({**ROWS, "adapter": {"dropout": 0.0}}, beta=beta, temperature=2.0, bf16=False)
    trainer, _ = school.begun(step)
    trainer.model.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    with torch.no_grad():
        told = float(trainer.compute_loss(trainer.model, {**batch, "num_items_in_batch": None}))
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        start = batch["prompt_ids"].shape[1] - 1
        p, q = (
            (model(ids, attention_mask=mask).logits[:, start:-1].float() / 2.0).log_softmax(-1)
            for model in (trainer.teacher_model, trainer.model)
        )
    mixed = (beta * p.exp() + (1 - beta) * q.exp()).log()
    of = {0.0: p.exp() * (p - q), 1.0: q.exp() * (q - p)}
    divergence = of.get(beta, beta * p.exp() * (p - mixed) + (1 - beta) * q.exp() * (q - mixed)).sum(-1)
    learned = batch["completion_mask"] * batch["tool_mask"]
    assert told == pytest.approx(float((divergence * learned).sum() / learned.sum()), rel=1e-3)


def test_of_a_chat_with_tools_all_answers_are_learned_and_nothing_else(tmp_path: Path, school: School) -> None:
    turns = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "I look it up."},
        {"role": "tool", "content": "The answer is seventeen."},
        {"role": "assistant", "content": "It is 17."},
    ]
    row = make_row("chat", {"messages": turns})
    lab = School(tmp_path, school.base.path / "model", school.teacher.path / "model", [row] * 4)
    trainer, training = lab.begun(lab.lesson(ROWS, max_completion_length=64))
    one = trainer.train_dataset[0]
    learned = [token for token, counts in zip(one["completion"], one["learned"], strict=True) if counts]
    assert training.tokenizer.decode(learned) == "I look it up.<|im_end|>It is 17.<|im_end|>"
    assert "seventeen" in training.tokenizer.decode(one["completion"])


def test_long_answers_are_cut_and_counted(tmp_path: Path, school: School) -> None:
    lab = School(tmp_path, school.base.path / "model", school.teacher.path / "model")
    trainer, _ = lab.begun(lab.lesson(ROWS, max_completion_length=8))
    assert max(len(row["completion"]) for row in trainer.train_dataset) == 8
    assert "rows trained with a cut answer, as it is longer than 8 tokens: 17" in lab.notes
    assert "rows left out of each epoch, as TRL takes whole steps of 4: 3" in lab.notes


# --- what is refused ----------------------------------------------------------------------------------------------


def test_fewer_rows_than_a_step_takes_are_refused(tmp_path: Path, school: School) -> None:
    lab = School(tmp_path, school.base.path / "model", school.teacher.path / "model", sums(3))
    with pytest.raises(TrainError, match="there are 3 rows, and one step of distill takes 4"):
        lab.begun(lab.lesson())
    (tmp_path / "none").mkdir()
    empty = School(tmp_path / "none", school.base.path / "model", school.teacher.path / "model", [])
    with pytest.raises(NoSupervisedTokens):
        empty.begun(empty.lesson())


def test_prompts_without_answers_cannot_be_learned_as_answers_of_rows(tmp_path: Path, school: School) -> None:
    prompts = [make_row("ask", {"prompt": [{"role": "user", "content": f"Why {n}?"}]}) for n in range(4)]
    lab = School(tmp_path, school.base.path / "model", school.teacher.path / "model", prompts)
    lab.begun(lab.lesson())
    with pytest.raises(WrongRows, match="kind prompt_only"):
        lab.begun(lab.lesson(ROWS))


def test_a_tokenizer_of_other_ids_or_of_other_merges_is_refused(tmp_path: Path, tiny_llama: Path) -> None:
    student = load_tokenizer(tiny_llama)
    prove_same_tokens(student, load_tokenizer(tiny_llama))
    told = json.loads((tiny_llama / "tokenizer.json").read_text())

    def changed(name: str, edit: Any) -> Any:
        import shutil

        folder = tmp_path / name
        shutil.copytree(tiny_llama, folder)
        own = json.loads(json.dumps(told))
        edit(own)
        (folder / "tokenizer.json").write_text(json.dumps(own))
        return load_tokenizer(folder)

    def swap(own: dict[str, Any]) -> None:
        vocabulary = own["model"]["vocab"]
        vocabulary["Ġthe"], vocabulary["Ġof"] = vocabulary["Ġof"], vocabulary["Ġthe"]

    with pytest.raises(TokenizersDiffer, match="different tokenizers") as caught:
        prove_same_tokens(student, changed("ids", swap))
    assert "2 tokens have another id" in caught.value.why
    with pytest.raises(TokenizersDiffer) as caught:
        prove_same_tokens(student, changed("merges", lambda own: own["model"]["merges"].reverse()))
    assert "the vocabulary is one, but" in caught.value.why


def test_a_teachers_padded_head_is_cut_to_the_students_and_a_smaller_one_refused(
    tmp_path: Path, tiny_llama: Path
) -> None:
    import torch

    student = load_model(tiny_llama)
    wide = load_model(tiny_llama)
    wide.resize_token_embeddings(student.config.vocab_size + 64, mean_resizing=False)  # type: ignore[union-attr,operator]
    wide.save_pretrained(tmp_path)  # type: ignore[operator]
    with quiet():
        teacher = load_teacher(tmp_path, student, bf16=False)
        ids = torch.tensor([[5, 6, 7]])
        assert torch.equal(teacher(ids).logits, student(ids).logits)
        with pytest.raises(TokenizersDiffer, match="and the student"):
            load_teacher(tiny_llama, wide, bf16=False)
