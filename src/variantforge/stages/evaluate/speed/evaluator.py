"""Tokens a second, time to the first one, load time and memory of a subject on this machine.

Figures for people: they hang on the machine and on what else it did, so they are the one thing measured here that equal
steps do not repeat. The machine stands in the facts. Nothing is gated on them unless a family says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Literal

from pydantic import Field

from variantforge.errors import EvaluateError, Interrupted
from variantforge.spec.family import Section
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.speed.folder import Folder
from variantforge.stages.evaluate.speed.gguf import running
from variantforge.stages.evaluate.speed.runs import Runtime, machine
from variantforge.step import StepContext

_WARM_UP_TOKENS = 4


class SpeedParams(Section):
    """What a user may write beside ``evaluator: speed``."""

    prompt_tokens: int = Field(256, ge=1, description="tokens of the prompt that is read")
    new_tokens: int = Field(64, ge=2, description="tokens that are written after it, whatever they are")
    repeats: int = Field(5, ge=1, le=100, description="runs, after one that is not counted")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")


class Speed:
    """One prompt at a time, as one person at one machine would wait for it."""

    Params = SpeedParams
    heavy = True
    METRICS = (
        Metric("load_s", "load_s", "loads", "lower"),
        Metric("memory_gb", "memory_gb", "peaks", "lower"),
        Metric("first_token_s", "first_token_s", "runs", "lower"),
        Metric("prompt_tokens_per_s", "prompt_tokens", "first_token_s", "higher"),
        Metric("tokens_per_s", "rest_tokens", "rest_s", "higher"),
    )

    def metrics(self, params: SpeedParams, subject: str) -> tuple[Metric, ...]:
        return self.METRICS

    def needs(self, params: SpeedParams, subject: str) -> tuple[str, ...]:
        return ()

    def identity(self, params: SpeedParams, subject: str) -> dict[str, Any]:
        return params.identity()

    def evaluate(self, context: StepContext) -> Measured:
        params = SpeedParams(**context.step.params)
        load = os.getloadavg()[0]
        with _loaded(context, params) as runtime:
            rows = list(_rows(context, params, runtime))
            rows[0] |= {"loads": 1, "load_s": round(runtime.load_s, 6)}
            if peak := runtime.peak_bytes():
                rows[0] |= {"peaks": 1, "memory_gb": peak / 1e9}
            version = runtime.version
        here = machine()
        busy = f"load {load:.1f} on {here['cores']} cores" if load > here["cores"] / 2 else ""
        if busy:
            context.note(f"the machine was busy when speed was measured ({busy}): it can do more")
        medians = {"tokens_per_s": _median(rows, "rest_tokens", "rest_s")}
        medians |= {"prompt_tokens_per_s": _median(rows, "prompt_tokens", "first_token_s")}
        facts = {"machine": here, "runtime": version, "median": medians}
        return Measured(rows, facts | ({"busy": busy} if busy else {}))


def _median(rows: list[dict[str, Any]], total: str, per: str) -> float:
    return round(float(median(row[total] / row[per] for row in rows)), 2)


@contextmanager
def _loaded(context: StepContext, params: SpeedParams) -> Iterator[Runtime]:
    path = context.inputs["model"].path
    file = path / "model.gguf"
    if file.is_file():
        with running(file, params.prompt_tokens + params.new_tokens) as runtime:
            yield runtime
    else:
        yield Folder(path / "model", params.dtype)


def _rows(context: StepContext, params: SpeedParams, runtime: Runtime) -> Iterator[dict[str, Any]]:
    runtime.run(params.prompt_tokens, min(_WARM_UP_TOKENS, params.new_tokens))
    for number in range(params.repeats):
        context.progress(number, params.repeats, "run")
        if context.stopping():
            raise Interrupted("stopped while speed was measured", next="run the same command again")
        run = runtime.run(params.prompt_tokens, params.new_tokens)
        if (run.prompt_tokens, run.tokens) != (params.prompt_tokens, params.new_tokens):
            raise EvaluateError(
                f"a run read {run.prompt_tokens} tokens and wrote {run.tokens}, not {params.prompt_tokens} and "
                f"{params.new_tokens}",
                why="The model cannot read that much at once, or writes no further.",
                next="lower prompt_tokens or new_tokens",
            )
        yield {"id": str(number + 1), "source": "speed", **run.columns}
    context.progress(params.repeats, params.repeats, "run")
