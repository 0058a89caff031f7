"""What a card says of measurements: what they mean, and what was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.card.made import made
from variantforge.stages.card.facts import MEANINGS
from variantforge.stages.evaluate import EVALUATORS


def test_every_metric_that_evaluators_name_is_explained() -> None:
    names = {metric.name for row in EVALUATORS for metric in EVALUATORS.load(row).METRICS}
    assert {"loss", "pass@1", "json_valid", "win_rate", "refused_harmful", "tokens_per_s"} < names
    assert names - set(MEANINGS) == set()


@pytest.mark.parametrize(
    ("evaluators", "said"),
    [
        (["perplexity"], "Safety, bias and general ability were not measured."),
        (["perplexity", "safety"], "Bias and general ability were not measured."),
        (["lm_eval"], "Safety and bias were not measured."),
        (["safety", "lm_eval"], "Bias was not measured."),
    ],
)
def test_limits_do_not_deny_what_was_measured(evaluators: list[str], said: str, tmp_path: Path) -> None:
    needed = {"safety": {}, "perplexity": {}, "lm_eval": {"tasks": ["hellaswag"]}}
    asked = {f"e{number}": {"evaluator": it, **needed[it]} for number, it in enumerate(evaluators)}
    card = made(tmp_path, {"evaluate": {"heldout": None, **asked}, "gates": []}).card("code", "merged")
    assert f"- {said}\n" in card
