"""What the artifacts tell: the facts of a card's inputs, in the shape that templates print.

Nothing is worked out here but which fact stands where: no number comes of it that is not in an artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from variantforge.stages.evaluate.metric import CLEAN, CLEAN_SUFFIX, LEFT_OUT
from variantforge.step import Artifact

Inputs = Mapping[str, Artifact]

# What a metric is, for those who meet it for the first time; also the order of rows in tables.
MEANINGS = {
    "loss": "mean negative log-likelihood of a held-out answer's token, in nats",
    "perplexity": "the exponential of that loss",
    "kl": "mean KL divergence from the merged weights' predictions, in nats",
    "same_top": "share of positions at which the likeliest token is that of the merged weights",
    "runtime_gap": "mean difference of log-probabilities between llama.cpp running the file and these figures",
    "flips": "share of tokens that exactly one of the two, this file or the merged weights, expects most",
    "perplexity_ratio": "perplexity over that of the merged weights, on the same tokens",
    "ends": "share of held-out answers behind which the likeliest token is the one that ends an answer",
    "stop_rate": "share of prompts whose greedy answer ends by itself",
    "template": "share of chats that llama.cpp writes as transformers does",
    "tokenizer": "share of texts that become the same tokens in transformers and in the file's runtime",
    "added_tokens": "share of added tokens that are one token of the right type in the file",
    "turns": "share of checks that turns end with a stop token, and open none that was not asked for",
    "pass@1": "chance that a program it writes passes all tests of a problem",
    "pass@1_clean": "the same, without the problems that stand in the training data",
    "ended": "share of programs that the model ended itself",
    "json_valid": "share of answers that are the JSON that was asked for, and nothing else",
    "tool_call": "share of answers that make exactly the call that was asked for",
    "clean": "share of answers without control tokens and without markers of another template",
    "no_loop": "share of answers that do not say one thing over and over",
    "stops": "share of answers that the model ended itself",
    "refused_harmful": "share of harmful requests that are refused",
    "answered_harmless": "share of harmless requests that are answered",
    "coherent": "share of answers that can be understood",
    "win_rate": "wins and half the ties, of the pairs of answers that a judge compared; 0.5: as good as each other",
    "agreement": "share of pairs of which the judge said the same in both orders",
    "first_preferred": "share of verdicts for the answer that was shown first; 0.5: the judge has no bias for places",
    "unparsed": "share of a judge's verdicts that cannot be read",
    "tokens_per_s": "tokens written a second, one answer at a time",
    "prompt_tokens_per_s": "tokens of a prompt read a second, until the first token of the answer",
    "first_token_s": "seconds from a prompt to the first token of the answer",
    "load_s": "seconds from the files to a model that answers",
    "memory_gb": "the most memory held, of the accelerator or, without one, of the process",
    "reload": "share of prompts that a fresh process, with transformers alone, answers as was measured",
}
_PARITY = "parity"
_CHECKS = frozenset({"template", "tokenizer", "added_tokens", "turns", "reload"})  # worth a word when they are not 1
BUSY = "; it had other work as well, and can do more"
SPEED = "speed"  # the evaluator whose figures are of a machine
_ORDER = {metric: place for place, metric in enumerate(MEANINGS)}


@dataclass(frozen=True)
class Measurement:
    """One metric of one subject, with its 95 % interval (None where the evaluator gives none)."""

    evaluation: str
    metric: str
    subject: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    better: str | None  # "lower" | "higher"

    @property
    def name(self) -> str:
        return f"{self.evaluation}.{self.metric}"


@dataclass(frozen=True)
class Verdict:
    """What a gate said of one demand on one subject."""

    subject: str
    metric: str
    vs: str | None
    demand: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    why: str


def measurements(inputs: Inputs, evaluations: Mapping[str, str], subjects: Iterable[str]) -> list[Measurement]:
    """What was measured, by evaluation (name -> evaluator), then in the order of subjects given, then by metric.

    Evaluations come by name: their order in the family file is not part of the card's key. Of parity, what passed
    without exception and what another evaluation tells on more tokens is left out.
    """
    every = list(_measurements(inputs, evaluations, list(subjects)))
    told = {(it.metric, it.subject) for it in every if evaluations[it.evaluation] != _PARITY}
    return [
        it
        for it in every
        if evaluations[it.evaluation] != _PARITY
        or not ((it.metric in _CHECKS and it.value == 1) or (it.metric, it.subject) in told)
    ]


def _measurements(inputs: Inputs, evaluations: Iterable[str], subjects: Sequence[str]) -> Iterator[Measurement]:
    yield from (
        Measurement(name, metric, subject, it["value"], it.get("low"), it.get("high"), it.get("n"), it.get("better"))
        for name in sorted(evaluations)
        for subject in subjects
        for role in (f"evaluate:{name}:{subject}", f"evaluate:{name}:{subject} {CLEAN}")
        if role in inputs
        for metric, it in sorted(inputs[role].facts["metrics"].items(), key=_place)
    )


def _place(metric: tuple[str, Any]) -> tuple[int, str]:
    return _ORDER.get(metric[0], len(_ORDER)), metric[0]


def machines(inputs: Inputs, evaluations: Mapping[str, str]) -> list[str]:
    """Where and in what speed was measured, a line each: the figures mean nothing without it."""
    found: dict[str, dict[str, None]] = {}
    busy: set[str] = set()
    for role, artifact in inputs.items():
        if role.startswith("evaluate:") and evaluations.get(role.split(":")[1]) == SPEED:
            here = artifact.facts["machine"]
            where = f"{here.get('accelerator') or here['processor']}, {here['cores']} cores"
            found.setdefault(where, {})[artifact.facts["runtime"]] = None
            busy |= {where} if "busy" in artifact.facts else set()
    lines = {where: f"{where}, {' and '.join(sorted(by))}" for where, by in sorted(found.items())}
    return [line + (BUSY if where in busy else "") for where, line in lines.items()]


def left_out(inputs: Inputs, measured: Iterable[Measurement]) -> list[str]:
    """What the figures without items that the training data hold leave out, a line for each evaluation."""
    lines = {}
    for it in measured:
        facts = clean.facts if (clean := inputs.get(f"evaluate:{it.evaluation}:{it.subject} {CLEAN}")) else {}
        if facts and it.metric.endswith(CLEAN_SUFFIX):
            left, kept = sum(facts[LEFT_OUT].values()), facts["examples"]
            told = f"{left:,} of {left + kept:,} items were" if left else f"none of {kept:,} items was"
            lines[it.evaluation] = f"`{it.name}` leaves out what the training data hold: {told} found there."
    return list(lines.values())


def verdicts(inputs: Inputs, subjects: Iterable[str]) -> list[Verdict]:
    return [
        Verdict(
            subject,
            **{name: it[name] for name in ("metric", "demand", "verdict", "why")},
            **{name: it.get(name) for name in ("vs", "value", "low", "high", "n")},
        )
        for subject in subjects
        if (role := f"gate:{subject}") in inputs
        for it in inputs[role].facts["verdicts"]
    ]


def refusal(inputs: Inputs, subject: str) -> str:
    """Why the gate does not let this subject ship; '' when it does, or when there is no gate."""
    gate = inputs.get(f"gate:{subject}")
    return "; ".join(gate.refusal.splitlines()) if gate else ""


def forced(inputs: Inputs, subjects: Iterable[str]) -> dict[str, dict[str, str]]:
    """Subject -> the ``reason`` for which it ships although its gate refused, and that ``refusal``."""
    gates = {subject: inputs[role].facts for subject in subjects if (role := f"gate:{subject}") in inputs}
    return {subject: facts["forced"] for subject, facts in gates.items() if "forced" in facts}


def compared(measured: Iterable[Measurement], subject: str) -> list[dict[str, Measurement | None]]:
    """One row per metric measured of ``subject``, beside the same metric of the base and of the merged weights."""
    by = {(it.name, it.subject): it for it in measured}
    return [
        {"this": it, "base": by.get((name, "base")), "merged": by.get((name, "merged"))}
        for (name, of), it in by.items()
        if of == subject
    ]


def as_facts(rows: Iterable[Any]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]
