"""The arena: a subject's answers beside the base's, or the merged weights', judged in pairs by another model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from variantforge.errors import EvaluateError, VariantforgeError
from variantforge.fsops import make_folder
from variantforge.hashing import key_of
from variantforge.spec.family import Section
from variantforge.spec.trainer_args import cache_folder
from variantforge.stages.evaluate.answers import Answer, Prompt, Sampling, answers
from variantforge.stages.evaluate.arena import judging
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.judges.asking import ask, refuse_unclear
from variantforge.stages.evaluate.judges.planning import identity_of, judge_from
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.evaluate.metric import BASE, Metric, is_quantized
from variantforge.stages.evaluate.prompts import Item, heldout_items, pin_items, read_items
from variantforge.stages.stage import Desk
from variantforge.step import Pin, Step, StepContext

PROMPTS, OPPONENT = "prompts", "opponent"
_ROLES = {"base": "base", "merged": "reference"}  # what it is compared with -> the role of that input


class ArenaParams(Section):
    """What a user may write beside ``evaluator: arena``."""

    judge: JudgeSpec = Field(description="who judges: {model: REF}, or {endpoint: URL, model: NAME}")
    vs: Literal["base", "merged"] = Field("base", description="whose answers stand beside: the base's, or the merged")
    path: str | None = Field(None, description="your prompts: ./prompts.jsonl; held-out rows when there is none")
    max_prompts: int = Field(100, ge=1, description="ask at most this many, chosen by content hash")
    max_tokens: int = Field(512, ge=1, description="longer answers are cut off there, and judged as they are")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")


class Arena:
    """Both answer greedily. ``win_rate`` counts a tie as half; 0.5 says that they are as good as each other."""

    Params = ArenaParams
    heavy = True
    pinned_as: ClassVar = {"path": PROMPTS}
    METRICS = (
        Metric("win_rate", "points", "games", "higher"),
        Metric("agreement", "agreed", "compared", "higher"),
        Metric("first_preferred", "first_preferred", "preferences", None),
        Metric("unparsed", "unparsed", "verdicts", "lower"),
    )

    def metrics(self, params: ArenaParams, subject: str) -> tuple[Metric, ...]:
        """Nobody is compared with itself, nor the base with what is made of it."""
        return self.METRICS if (is_quantized(subject) or (params.vs == BASE and subject != BASE)) else ()

    def needs(self, params: ArenaParams, subject: str) -> tuple[str, ...]:
        return (_ROLES[params.vs], *(() if params.path else ("data",)))

    def identity(self, params: ArenaParams, subject: str) -> dict[str, Any]:
        own = {name: value for name, value in params.identity().items() if name not in ("path", "judge")}
        return {**own, "judge": identity_of(params.judge), "judging": judging.VERSION}

    def judge(self, params: ArenaParams) -> JudgeSpec:
        return params.judge

    def pins(self, desk: Desk, params: ArenaParams, key: str) -> Mapping[str, Pin] | None:
        if not params.path:
            return {}
        pin = pin_items(desk, params.path, f"{key}.path", why_wrong)
        return {PROMPTS: pin} if pin else None

    def suite_files(self, params: ArenaParams) -> Mapping[str, str]:
        """Held-out rows are no suite: they are never trained on."""
        return {"path": params.path} if params.path else {}

    def size(self, step: Step, metric: str) -> tuple[int, bool]:
        """Fewer where fewer rows are held out, or a judge says nothing that can be read."""
        most, pin = (
            int(step.params.get("max_prompts", ArenaParams.model_fields["max_prompts"].default)),
            step.pins.get(PROMPTS),
        )
        return (min(most, len(read_items(Path(pin.at), Path(pin.at).name, why_wrong))) if pin else most), True

    def evaluate(self, context: StepContext) -> Measured:
        told = {name: value for name, value in context.step.params.items() if name != "judging"}
        params = ArenaParams.model_validate({**told, "judge": judge_from(told["judge"])})
        items, passed = _items(context, params)
        prompts = [Prompt(item.id, item.messages) for item in items]
        ours = _said(context, prompts, params)
        theirs = _said(_opponent(context, params), prompts, params)
        pairs = [Pair(*three) for three in zip(items, ours, theirs, strict=True)]
        rows = judged(context, params.judge, pairs)
        outcomes = Counter(row["outcome"] for row in rows if "outcome" in row)
        facts = {"vs": params.vs, "outcomes": dict(sorted(outcomes.items())), "passed_over": passed}
        return Measured(rows, {**facts, "same_answer": sum(pair.same for pair in pairs)})


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt: the subject's, and its opponent's."""

    item: Item
    ours: Answer
    theirs: Answer

    @property
    def same(self) -> bool:
        return _read(self.ours) == _read(self.theirs)

    @property
    def questions(self) -> list[list[dict[str, Any]]]:
        """Both orders, the subject's answer first in the first."""
        ours, theirs, asked = _read(self.ours), _read(self.theirs), self.item.messages
        return [judging.question(asked, ours, theirs), judging.question(asked, theirs, ours)]

    def row(self) -> dict[str, Any]:
        source = {"source": self.item.source} if self.item.source else {}
        return {
            "id": self.item.id,
            "prompt": self.item.text,
            "answer": self.ours.text,
            "other": self.theirs.text,
            **source,
        }


def _read(answer: Answer) -> str:
    """What a judge sees of an answer: what was said, not what was thought before."""
    return str(answer.message["content"] or answer.text).strip()


def why_wrong(item: Item) -> str:
    if item.more:
        return f"unknown field '{min(item.more)}': there are prompt, messages, id"
    return ""


def _items(context: StepContext, params: ArenaParams) -> tuple[list[Item], int]:
    """What both are asked, and how many held-out rows hold no prompt."""
    pin = context.step.pins.get(PROMPTS)
    if pin:
        found, passed = read_items(Path(pin.at), Path(pin.at).name, why_wrong), 0
    else:
        found, passed = heldout_items(context.inputs["data"].path)
    if not found:
        raise EvaluateError(
            "there is no held-out prompt to ask",
            why=f"{passed} rows are held out, and none is a chat without tools that ends with an answer.",
            next="hold more rows out (evaluate: fraction), or name a file of prompts: path: ./prompts.jsonl",
        )
    kept = set(sorted(item.hash for item in found)[: params.max_prompts])
    return [item for item in found if item.hash in kept], passed


def _said(context: StepContext, prompts: Sequence[Prompt], params: ArenaParams) -> list[Answer]:
    told = answers(context, prompts, Sampling(max_new_tokens=params.max_tokens), dtype=params.dtype)
    return [one for (one,) in told]


def _opponent(context: StepContext, params: ArenaParams) -> StepContext:
    """The same step with the opponent as its subject. Its answers are kept where the steps of other subjects find
    them, too."""
    model = context.inputs[_ROLES[params.vs]]
    kept = cache_folder() / "opponents" / key_of([model.key, params.dtype])
    try:
        make_folder(kept)
    except (OSError, VariantforgeError):  # they are written anew then
        kept = context.scratch / OPPONENT
    return replace(context, inputs={"model": model}, scratch=kept)


def judged(context: StepContext, judge: JudgeSpec, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """One row for each pair; equal answers are a tie without a question."""
    open_ones = [pair for pair in pairs if not pair.same]
    said = ask(context, judge, [question for pair in open_ones for question in pair.questions])
    verdicts = [judging.verdict_in(text) for text in said]
    unread = [at for at, verdict in enumerate(verdicts) if verdict is None]
    refuse_unclear(judge, said, unread)
    told = iter(zip(said[::2], said[1::2], verdicts[::2], verdicts[1::2], strict=True))
    rows = [pair.row() | (_TIED if pair.same else _columns(*next(told))) for pair in pairs]
    if not any(row.get("games") for row in rows):
        raise EvaluateError(
            "not one pair of answers was judged in both orders",
            why=f"{len(unread):,} of {len(said):,} judgements hold no verdict that can be read.",
            next="ask a stronger judge",
        )
    return rows


_TIED = {"games": 1, "points": 0.5, "outcome": "tie"}


def _columns(first: str, second: str, one: judging.Verdict | None, other: judging.Verdict | None) -> dict[str, Any]:
    return {**judging.columns(one, other), "judgements": [first, second]}
