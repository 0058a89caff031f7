"""The teacher of a distillation: loaded frozen, proven to speak in the student's tokens, and how far the student is
from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import TokenizersDiffer
from variantforge.stages.models import load_model
from variantforge.stages.rows import HELDOUT, TRAIN, as_answered, kind_of, read_rows
from variantforge.stages.tokens import tokenize_prompt, tokenize_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from variantforge.stages.train.training import Training

MEASURED_ROWS, MEASURED_TOKENS = 8, 256  # on how much the distance is measured
_FROM_TEACHER = 32  # tokens of an answer, where a held-out row has none: the teacher's own
# Texts that tell tokenizers apart which have one vocabulary: merges, numbers, white space, scripts, normalisation.
PROBES = (
    "The quick brown fox can't jump over 13 lazy dogs, can it?",
    "def f(x):\n    return {'a': x[1:-1], \"b\": 0.5e-3}\n\n\n\t# done",
    "   leading, trailing   \r\n and\u00a0odd\u2003spaces ",
    "1234567890 3.14159 1,000,000 2026-01-31",
    "naïve café Ångström ﬁne e\u0301 ½ №",
    "Привет, мир. 你好，世界。 こんにちは 안녕하세요 مرحبا नमस्ते",
    "🙂👩\u200d👩\u200d👧 \U0001f1e9\U0001f1ea ∑∫≤ →",
    "<tag>&amp;</tag> <|x|> [INST] https://example.org/a?b=c%20d",
)


def prove_same_tokens(student: Tokenizer, teacher: Tokenizer) -> None:
    """Raises TokenizersDiffer unless every token has the same id in both, and both cut the probes alike."""
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    differ = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if differ:
        told = ", ".join(f"{token!r} is {ours.get(token)} and {theirs.get(token)}" for token in differ[:3])
        raise _differ(f"{len(differ):,} tokens have another id, or none (student and teacher): {told}")
    for text in PROBES:
        mine, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in (student, teacher))
        if mine != other:
            raise _differ(f"the vocabulary is one, but {text!r} becomes {len(mine)} and {len(other)} tokens")


def _differ(why: str) -> TokenizersDiffer:
    return TokenizersDiffer(
        "teacher and student have different tokenizers: their distributions cannot be compared",
        why=why,
        next="name a teacher of the student's own family in train.teacher, or let the teacher write data "
        "(datasets: {name: {source: teacher, ...}}), which any student can learn from",
    )


def load_teacher(folder: Path, student: Any, *, bf16: bool) -> Any:
    """The teacher, frozen, with as many logits as the student: a head is often padded, and larger models more.

    Raises TokenizersDiffer where the teacher's head is the smaller one.
    """
    teacher = load_model(folder, dtype="bfloat16" if bf16 else "float32")
    wanted, has = (model.config.get_text_config().vocab_size for model in (student, teacher))
    if has < wanted:
        raise TokenizersDiffer(
            f"the teacher has {has:,} logits for each token, and the student {wanted:,}",
            why="Nothing says what the teacher thinks of the rest.",
            next="swap student and teacher, or name a teacher of the same vocabulary size in train.teacher",
        )
    if has > wanted:
        teacher.resize_token_embeddings(wanted)
    return teacher.requires_grad_(False).eval()


class Closeness:
    """How far a trainer's student is from its teacher: KL(teacher || student) in nats, mean over the tokens of the
    answers of a few rows; held out ones, where there are any. ``facts`` say of how many."""

    def __init__(self, training: Training, trainer: Any) -> None:
        self._training, self._trainer = training, trainer
        self._texts = list(self._measured_on())
        on = "heldout" if self._heldout() else "train"
        self.facts = {"on": on, "rows": len(self._texts), "tokens": sum(len(ids) - start for ids, start in self._texts)}

    def measured(self) -> float:
        import torch

        model, teacher = self._trainer.model, self._trainer.teacher_model
        training = model.training
        model.eval()
        total, tokens = 0.0, 0
        with torch.no_grad(), self._trainer.accelerator.autocast():
            for ids, start in self._texts:
                ids_here = torch.tensor([ids], device=self._trainer.accelerator.device)
                theirs, ours = (_log_probs(each, ids_here, start) for each in (teacher, model))
                total += float((theirs.exp() * (theirs - ours)).sum())
                tokens += len(ids) - start
        model.train(training)
        return total / max(tokens, 1)

    def _heldout(self) -> bool:
        return next(read_rows(self._training.data.path / HELDOUT), None) is not None

    def _measured_on(self) -> Iterator[tuple[list[int], int]]:
        """Token ids, and where the part that is measured begins: never at 0."""
        path = self._training.data.path / (HELDOUT if self._heldout() else TRAIN)
        found = 0
        for row in read_rows(path):
            text = self._text(row)
            if text is not None:
                yield text
                found += 1
            if found == MEASURED_ROWS:
                return

    def _text(self, row: dict[str, Any]) -> tuple[list[int], int] | None:
        tokenizer, answered = self._training.tokenizer, as_answered(row)
        if answered is None and kind_of(row) != "prompt_only":
            return None
        if answered is None:
            ids = tokenize_prompt(tokenizer, row["prompt"], row.get("tools"))[-MEASURED_TOKENS:]
            return self._continued(ids), len(ids)
        tokens = tokenize_row(tokenizer, answered, stop_ids=self._training.stop_ids)
        starts = [at for at, learned in enumerate(tokens.supervised) if learned and at]
        if not starts:
            return None
        first = max(0, starts[0] - MEASURED_TOKENS)  # of a long prompt its end
        return tokens.ids[first : starts[0] + MEASURED_TOKENS], starts[0] - first

    def _continued(self, ids: list[int]) -> list[int]:
        """With what the teacher would answer, greedily."""
        import torch

        prompt = torch.tensor([ids], device=self._trainer.accelerator.device)
        with torch.no_grad():
            answered = self._trainer.teacher_model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=_FROM_TEACHER,
                do_sample=False,
                eos_token_id=self._training.stop_ids,
                pad_token_id=self._training.tokenizer.pad_token_id,
            )
        told: list[int] = answered[0].tolist()
        return told


def _log_probs(model: Any, ids: Any, start: int) -> Any:
    """Of the tokens from ``start`` on: [tokens, vocabulary], float32."""
    return model(ids, use_cache=False).logits[0, start - 1 : -1].float().log_softmax(-1)
