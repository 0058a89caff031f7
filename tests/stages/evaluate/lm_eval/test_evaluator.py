"""Tasks of a user's measured whole: scores, rows, facts, and failures that say which item it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.lm_eval.suites import CHOICES, WRITTEN, docs, measured, planned, value, write_task
from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.evaluation import metric_of
from variantforge.stages.evaluate.lm_eval.evaluator import LmEval, LmEvalParams
from variantforge.stages.evaluate.metric import Metric, read_examples
from variantforge.step import Artifact


def test_scores_are_those_that_the_harness_makes_of_the_same_items(tmp_path: Path, base: Artifact) -> None:
    found = measured(tmp_path, base, tasks=[write_task(tmp_path, **CHOICES, num_fewshot=3)])
    rows = read_examples(found)
    assert found.facts["scores"]["mine"].keys() == {"acc,none", "acc_norm,none"}
    assert value(found, "mine") == pytest.approx(found.facts["scores"]["mine"]["acc,none"])
    assert value(found, "mine") == pytest.approx(sum(row["mine"] for row in rows) / len(rows))
    assert [row["id"] for row in rows] == [f"mine/{number}" for number in range(12)]
    assert {row["mine"] for row in rows} <= {0.0, 1.0}
    assert metric_of("lm_eval", found, "mine.acc_norm") == Metric(
        "mine.acc_norm", "mine.acc_norm", "mine.acc_norm:n", "higher"
    )


def test_what_the_scores_hang_on_stands_beside_them(tmp_path: Path, base: Artifact) -> None:
    entry = write_task(tmp_path, **CHOICES)
    found = measured(tmp_path, base, tasks=[entry], num_fewshot=2, limit=5, fewshot_random_seed=7)
    assert found.facts["tasks"]["mine"] == {
        "version": "1.0",
        "num_fewshot": 0,  # a task that says 0 keeps it, as with the harness's own command
        "items": 5,
        "of": 12,
        "output_type": "multiple_choice",
        "data": "json",
    }
    assert found.facts["lm_eval"] == LmEval().identity(LmEvalParams(tasks=[entry]), "merged")["lm_eval"]
    assert found.facts["seeds"] == {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 7}
    assert found.facts["whole_tasks"] == []


@pytest.mark.slow
def test_worked_examples_are_another_question_of_the_same_items(tmp_path: Path, base: Artifact) -> None:
    entry = write_task(tmp_path, **CHOICES, num_fewshot=None)
    plain = measured(tmp_path, base, tasks=[entry])
    shown = measured(tmp_path, base, tasks=[entry], num_fewshot=2)
    assert (plain.facts["tasks"]["mine"]["num_fewshot"], shown.facts["tasks"]["mine"]["num_fewshot"]) == (0, 2)
    assert plain.facts["tokens_sha256"] == shown.facts["tokens_sha256"]
    assert plain.facts["prompts_sha256"] != shown.facts["prompts_sha256"]


def test_a_chat_template_is_told_by_its_digest(tmp_path: Path, base: Artifact) -> None:
    entry = write_task(tmp_path, **CHOICES)
    plain = measured(tmp_path, base, tasks=[entry], limit=3)
    chat = measured(tmp_path, base, tasks=[entry], limit=3, apply_chat_template=True, system_instruction="Be brief.")
    assert plain.facts["template_sha256"] is None
    assert len(chat.facts["template_sha256"]) == 64
    assert plain.facts["prompts_sha256"] != chat.facts["prompts_sha256"]


def test_whole_texts_have_perplexities_by_word_and_byte(tmp_path: Path, base: Artifact) -> None:
    config: dict[str, Any] = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}}"}
    found = measured(tmp_path, base, tasks=[write_task(tmp_path, **config)])
    scores = found.facts["scores"]["mine"]
    assert value(found, "mine") == pytest.approx(scores["word_perplexity,none"])
    assert value(found, "mine.byte_perplexity") == pytest.approx(scores["byte_perplexity,none"])
    assert value(found, "mine.bits_per_byte") == pytest.approx(scores["bits_per_byte,none"])
    assert found.facts["metrics"]["mine"]["better"] == "lower"


def test_a_last_word_is_guessed_or_not(tmp_path: Path, base: Artifact) -> None:
    config = {"output_type": "loglikelihood", "doc_to_text": "{{q}}", "doc_to_target": " {{choices[0]}}"}
    found = measured(tmp_path, base, tasks=[write_task(tmp_path, **config)])
    scores = found.facts["scores"]["mine"]
    assert value(found, "mine") == pytest.approx(scores["perplexity,none"])
    assert value(found, "mine.acc") == scores["acc,none"]


def test_answers_are_written_filtered_and_kept(tmp_path: Path, base: Artifact) -> None:
    filters = [
        {"name": "first", "filter": [{"function": "regex", "regex_pattern": r"(\w+)"}, {"function": "take_first"}]},
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ]
    found = measured(tmp_path, base, tasks=[write_task(tmp_path, **WRITTEN, filter_list=filters)], limit=4)
    assert list(found.facts["metrics"]) == ["mine", "mine.exact_match.whole"]
    rows = read_examples(found)
    assert all(isinstance(row["answer"], str) and "\n" not in row["answer"] for row in rows)
    assert all("mine.exact_match.whole" in row for row in rows)


@pytest.mark.slow
def test_several_tasks_are_asked_together(tmp_path: Path, base: Artifact) -> None:
    tasks = [write_task(tmp_path, "one", docs(4), **CHOICES), write_task(tmp_path, "two", docs(3, seed=2), **WRITTEN)]
    found = measured(tmp_path, base, tasks=tasks)
    assert list(found.facts["metrics"]) == ["one", "one.acc_norm", "two"]
    assert [row["task"] for row in read_examples(found)] == ["one"] * 4 + ["two"] * 3
    assert found.facts["metrics"]["two"]["n"] == 3


@pytest.mark.slow
def test_every_format_is_asked_the_same_items(tmp_path: Path, base: Artifact, merged: Artifact, gguf: Artifact) -> None:
    entry = write_task(tmp_path, **CHOICES)
    every = [
        measured(tmp_path, base, tasks=[entry], run="base"),
        measured(tmp_path, merged, tasks=[entry], run="merged"),
        measured(tmp_path, gguf, tasks=[entry], run="gguf", reference=merged),
    ]
    assert len({one.facts["tokens_sha256"] for one in every}) == 1
    assert len({tuple(row["id"] for row in read_examples(one)) for one in every}) == 1
    assert LmEval().needs(LmEvalParams(tasks=[entry]), "gguf:Q8_0") == ("reference",)
    assert LmEval().needs(LmEvalParams(tasks=[entry]), "nf4") == ()


@pytest.mark.slow
def test_answers_of_a_gguf_file_are_llama_cpps(tmp_path: Path, merged: Artifact, gguf: Artifact) -> None:
    found = measured(tmp_path, gguf, reference=merged, tasks=[write_task(tmp_path, **WRITTEN)], limit=2)
    assert len([row["answer"] for row in read_examples(found)]) == 2
    chat = measured(
        tmp_path, gguf, reference=merged, tasks=[write_task(tmp_path, **WRITTEN)], limit=2, apply_chat_template=True
    )
    assert chat.facts["template_sha256"]


# --- a try after a kill -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stopped_measurement_goes_on_where_it_was(tmp_path: Path, base: Artifact) -> None:
    entry = write_task(tmp_path, items=docs(40), **CHOICES)
    asked: list[bool] = []

    def stopping() -> bool:
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(Interrupted):
        measured(tmp_path, base, tasks=[entry], run="a", stopping=stopping)
    (kept,) = (tmp_path / "a").rglob("loglikelihoods.jsonl")
    first = kept.read_text().count("[")
    assert first > 10
    kept.write_text(kept.read_text()[:-9])  # a kill has cut the last line short
    (out,) = (tmp_path / "a" / "evaluate").iterdir()
    out.rmdir()
    events: list[dict[str, Any]] = []
    again = measured(tmp_path, base, tasks=[entry], run="a", emit=events.append)
    whole = measured(tmp_path, base, tasks=[entry], run="b")
    assert next(event["done"] for event in events if event["kind"] == "progress") >= first
    assert again.facts == whole.facts
    assert read_examples(again) == read_examples(whole)


# --- what ends it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            CHOICES | {"doc_to_target": "{{choices.index(choices[gold])}}"},
            "writing item mine/3 broke off: UndefinedError",
        ),
        (CHOICES, "judging item mine/3 broke off: NoSuchChoice"),
    ],
    ids=["question", "answer"],
)
def test_an_item_that_breaks_off_ends_the_measurement_by_its_name(
    tmp_path: Path, base: Artifact, config: dict[str, Any], told: str
) -> None:
    items = docs(5)
    items[3]["gold"] = 9
    with pytest.raises(EvaluateError, match=told):
        measured(tmp_path, base, tasks=[write_task(tmp_path, items=items, **config)])


def test_a_template_reaches_values_alone(tmp_path: Path, base: Artifact) -> None:
    evil = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(EvaluateError) as caught:
        measured(tmp_path, base, tasks=[write_task(tmp_path, **CHOICES | {"doc_to_text": evil})])
    assert "SecurityError" in str(caught.value)


def test_items_without_a_field_that_the_task_asks_for_are_told(tmp_path: Path, base: Artifact) -> None:
    with pytest.raises(EvaluateError, match="the task mine cannot be prepared: UndefinedError") as caught:
        measured(tmp_path, base, tasks=[write_task(tmp_path, **CHOICES | {"doc_to_text": "{{question}}"})])
    assert "'question' is undefined" in str(caught.value)


def test_a_file_that_changed_since_it_was_planned_is_not_measured(tmp_path: Path, base: Artifact) -> None:
    from tests.bench import do_step
    from variantforge.stages.evaluate.stage import STAGE

    entry = write_task(tmp_path, **CHOICES)
    step, _ = planned(tmp_path, tasks=[entry])
    assert step is not None
    write_task(tmp_path, items=docs(3), **CHOICES)
    with pytest.raises(EvaluateError, match=r"\./tasks/mine\.yaml was changed since this was planned"):
        do_step(STAGE, step, tmp_path / "run", {"model": base})


def test_a_model_without_a_template_is_not_asked_through_one(tmp_path: Path, merged: Artifact) -> None:
    from tests.stages.evaluate.subjects import model_artifact

    bare = model_artifact(tmp_path, "bare", merged.path / "model")
    (bare.path / "model" / "chat_template.jinja").unlink(missing_ok=True)
    config = bare.path / "model" / "tokenizer_config.json"
    told = json.loads(config.read_text())
    told.pop("chat_template", None)
    config.write_text(json.dumps(told))
    with pytest.raises(EvaluateError, match="has no chat template"):
        measured(tmp_path, bare, tasks=[write_task(tmp_path, **CHOICES)], apply_chat_template=True)


def test_a_setting_of_generation_that_is_not_known_is_not_passed_over(tmp_path: Path, base: Artifact) -> None:
    with pytest.raises(EvaluateError, match="generation settings that are not known here: num_beams"):
        measured(tmp_path, base, tasks=[write_task(tmp_path, **WRITTEN)], gen_kwargs={"num_beams": 4})
