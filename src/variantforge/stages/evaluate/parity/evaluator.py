"""``parity``: what ships must say what it was made from. Measured of merged weights and of every quantized file.

What is certainly broken ends the step by name (``errors.NotInParity``), so nothing that hangs on it is published; how
near the rest is are figures for gates. Cheap checks come first.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from variantforge.spec.family import Section
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.metric import BASE, QUANTIZED, Metric, is_quantized, method_of
from variantforge.stages.evaluate.runtime_gap import TOLERANCE
from variantforge.step import StepContext

FOLDER = "folder"  # subjects that transformers loads: all but gguf


class ParityParams(Section):
    """What a user may write beside ``evaluator: parity``."""

    max_examples: int = Field(8, ge=1, description="held-out rows that predictions are compared on")
    max_length: int = Field(256, ge=2, description="tokens of a row that are read")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")
    runtime_positions: int = Field(8, ge=0, description="positions at which llama.cpp is compared with torch; 0: none")
    runtime_tolerance: float = Field(TOLERANCE, gt=0, description="largest mean difference of log-probabilities there")
    # 64 prompts of 512 tokens say something of a chat model, and take minutes on a CPU
    stop_prompts: int = Field(0, ge=0, description="prompts that are answered, to see whether answers end; 0: none")
    stop_tokens: int = Field(512, ge=1, description="tokens after which an answer counts as one that never ends")


class Parity:
    Params = ParityParams
    heavy = True
    METRICS = (
        Metric("kl", "kl", "tokens", "lower", on=QUANTIZED),
        Metric("same_top", "same_top", "tokens", "higher", on=QUANTIZED),
        Metric("flips", "flips", "tokens", "lower", on=QUANTIZED),
        Metric("perplexity_ratio", "nll_more", "tokens", "lower", scale="exp", on=QUANTIZED),
        Metric("runtime_gap", "gap", "positions", "lower", on="gguf"),
        Metric("ends", "ended", "answers", "higher"),
        Metric("stop_rate", "stopped", "asked", "higher"),
        Metric("tokenizer", "same_ids", "strings", "higher", on=QUANTIZED),
        Metric("template", "same_prompt", "conversations", "higher", on="gguf"),
        Metric("added_tokens", "whole", "added", "higher", on="gguf"),
        Metric("turns", "sound", "checks", "higher"),
        Metric("reload", "reloaded", "prompts", "higher", on=FOLDER),
    )

    def metrics(self, params: ParityParams, subject: str) -> tuple[Metric, ...]:
        if subject == BASE:
            return ()
        left_out = {"runtime_gap"} if not params.runtime_positions else set[str]()
        left_out |= {"stop_rate"} if not params.stop_prompts else set()
        return tuple(one for one in self.METRICS if _applies(one, subject) and one.name not in left_out)

    def needs(self, params: ParityParams, subject: str) -> tuple[str, ...]:
        return ("data", "reference") if is_quantized(subject) else ("data",)

    def identity(self, params: ParityParams, subject: str) -> dict[str, Any]:
        own = params.identity()
        if method_of(subject) != "gguf":
            own = {name: value for name, value in own.items() if not name.startswith("runtime_")}
        return own

    def evaluate(self, context: StepContext) -> Measured:
        from variantforge.stages.evaluate.parity.checks import check_folder, check_gguf, check_merged
        from variantforge.stages.evaluate.parity.subject import Subject

        subject = Subject.of(context, ParityParams(**context.step.params))
        check = check_gguf if subject.gguf else check_folder if subject.reference else check_merged
        return check(subject)


def _applies(metric: Metric, subject: str) -> bool:
    if metric.on == FOLDER:
        return method_of(subject) != "gguf"
    return metric.applies_to(subject)
