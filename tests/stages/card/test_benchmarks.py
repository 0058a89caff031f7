from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.card import made as by_hand
from tests.stages.card.made import made
from tests.stages.publish.payloads import small
from variantforge.stages.card.benchmarks import BENCHMARKS, entries_of, result_files
from variantforge.stages.evaluate import EVALUATORS

GSM8K = {"metrics": {"gsm8k": {"value": 0.2767, "n": 1319, "better": "higher"}}, "whole_tasks": ["gsm8k"]}
SUITE = {"evaluate": {"heldout": {"evaluator": "perplexity"}, "maths": {"evaluator": "lm_eval"}}}


def test_a_registered_benchmark_run_whole_gives_an_entry() -> None:
    (entry,) = entries_of("lm_eval", GSM8K, "https://huggingface.co/acme/x")
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "gsm8k", 27.67)
    assert (entry.source_url, entry.notes) == ("https://huggingface.co/acme/x", "lm_eval, task gsm8k")


@pytest.mark.parametrize(
    "facts",
    [
        GSM8K | {"whole_tasks": []},  # a part of it, or a changed prompt
        {"metrics": GSM8K["metrics"]},  # nobody says
        GSM8K | {"metrics": {"gsm8k_cot": {"value": 0.3}}, "whole_tasks": ["gsm8k_cot"]},  # another task
        {},
    ],
    ids=["subset", "not said", "not registered", "nothing"],
)
def test_what_is_no_result_of_a_registered_benchmark_gives_none(facts: dict[str, Any]) -> None:
    assert entries_of("lm_eval", facts) == []
    assert result_files([("maths", "lm_eval", facts)]) == {}


@pytest.mark.parametrize("evaluator", [name for name in EVALUATORS if name != "lm_eval"])
def test_no_evaluator_but_the_harness_runs_a_registered_benchmark(evaluator: str) -> None:
    assert not [key for key in BENCHMARKS if key[0] == evaluator]
    everything = {"metrics": {"loss": {"value": 1.0}, "gsm8k": {"value": 0.5}}, "whole_tasks": ["loss", "gsm8k"]}
    assert entries_of(evaluator, everything) == []


def test_the_file_is_what_the_client_of_the_hub_reads() -> None:
    from huggingface_hub import parse_eval_result_entries

    files = result_files([("maths", "lm_eval", GSM8K)], "https://huggingface.co/acme/x")
    assert list(files) == [".eval_results/maths.yaml"]
    assert parse_eval_result_entries(yaml.safe_load(files[".eval_results/maths.yaml"])) == entries_of(
        "lm_eval", GSM8K, "https://huggingface.co/acme/x"
    )


@pytest.mark.parametrize(("form", "expected"), [("merged", 1), ("nf4", 1), ("adapter", 0), ("gguf", 0)])
def test_results_lie_in_the_card_and_are_published_with_the_weights_they_are_of(
    form: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = by_hand.metrics
    monkeypatch.setattr(by_hand, "metrics", lambda subject: measured(subject) | GSM8K["metrics"])
    monkeypatch.setattr(by_hand, "MORE_FACTS", {"whole_tasks": ["gsm8k"]})
    family = made(tmp_path, SUITE, fill=small)
    family.do("publish", "code", form)
    (folder,) = (tmp_path / "project" / "published").iterdir()
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(".eval_results/*"))
    assert files == [".eval_results/maths.yaml"][:expected]
    if expected:
        assert (family.do("card", "code", form).path / files[0]).read_text() == (folder / files[0]).read_text()
        assert files[0] in (folder / "variantforge.json").read_text()


def test_a_family_of_home_made_evaluations_publishes_no_results(tmp_path: Path) -> None:
    family = made(tmp_path, fill=small)
    for form in ("merged", "nf4"):
        family.do("publish", "code", form)
        assert [path.name for path in family.do("card", "code", form).path.iterdir()].count(".eval_results") == 0
    assert not list((tmp_path / "project" / "published").rglob(".eval_results"))
