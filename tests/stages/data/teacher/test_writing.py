from __future__ import annotations

import gc
import itertools
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.data.teacher import school
from tests.stages.data.teacher.school import Handler, answers_of, asked_of, chat, cut, hangs, prompts, rows_of, says
from tests.stages.train.lab import base_artifact
from tests.tiny import smollm2_gguf
from variantforge.errors import DataError, Interrupted, TeacherRefused, TeacherUnreachable
from variantforge.stages.data.stage import STAGE
from variantforge.stages.data.teacher import endpoint
from variantforge.stages.data.teacher.endpoint import retry_after
from variantforge.stages.llama_server import served
from variantforge.stages.rows import HELDOUT, make_row
from variantforge.step import Artifact


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of one's own, and no waiting between tries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(endpoint, "WAITS_S", (0, 0, 0))


@pytest.fixture
def server() -> Iterator[Any]:
    with school.serving() as serving:
        yield serving


@pytest.fixture
def six(tmp_path: Path) -> Artifact:
    return prompts(tmp_path, [chat(f"Question {n}", "an old answer") for n in range(6)])


def forget(root: Path) -> None:
    """What a store does before the next try: the artifact goes, scratch stays."""
    shutil.rmtree(root / "data", ignore_errors=True)


# --- rows ---------------------------------------------------------------------------------------------------------


def test_all_but_the_last_answer_is_asked_and_every_turn_is_kept(server: Any, tmp_path: Path) -> None:
    long = make_row(
        "asks", {"messages": [{"role": "system", "content": "Be kind."}, *chat("a", "b", "c", "d")["messages"]]}
    )
    ask = make_row("asks", {"prompt": [{"role": "user", "content": "Why?"}]})
    told = asked_of(server, tmp_path, prompts(tmp_path, [long, ask]), system="Be brief.", seed=3)
    assert [[turn["content"] for turn in row["messages"]] for row in rows_of(told)] == [
        ["Be kind.", "a", "b", "c", "You said: c (3)"],
        ["Be brief.", "Why?", "You said: Why? (3)"],
    ]
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("tiny", 512, 0.7, 3)


def test_equal_prompts_are_asked_once_and_samples_have_seeds_of_their_own(server: Any, tmp_path: Path) -> None:
    rows = [chat("Same", "one"), chat("Same", "two"), chat("Other", "three")]
    told = asked_of(server, tmp_path, prompts(tmp_path, rows), samples=2)
    assert sorted(answers_of(told)) == [f"You said: {text} ({seed})" for text in ("Other", "Same") for seed in (0, 1)]
    assert len(server.asked) == 4
    assert (told.facts["prompts"], told.facts["passed_over"]) == (2, {"asked already": 1})


def test_answers_stand_on_the_side_of_their_prompts(server: Any, tmp_path: Path) -> None:
    told = asked_of(server, tmp_path, prompts(tmp_path, [chat("a", "b")], [chat("c", "d"), chat("a", "x")]))
    assert answers_of(told) == []
    assert sorted(answers_of(told, HELDOUT)) == ["You said: a (0)", "You said: c (0)"]


def test_what_is_no_answer_is_dropped_and_counted(server: Any, tmp_path: Path, six: Artifact) -> None:
    server.faults = [
        school.completes("half an", "length"),
        school.completes("  "),
        school.completes("", tool_calls=[{"id": "1"}]),
        school.completes("hidden", "content_filter"),
        school.completes("So.", reasoning_content="I think."),
    ]
    events: list[dict[str, Any]] = []
    told = asked_of(server, tmp_path, six, emit=events.append)
    assert told.facts["answers_dropped"] == {
        "called a tool": 1,
        "empty": 1,
        "ended by content_filter": 1,
        "too long": 1,
    }
    assert told.facts["train"] == 2
    assert [row["messages"][-1] for row in rows_of(told) if "reasoning_content" in row["messages"][-1]] == [
        {"role": "assistant", "content": "So.", "reasoning_content": "I think."}
    ]
    assert any("answers that were dropped" in event.get("text", "") for event in events)
    last = [event for event in events if event.get("unit") == "answer"][-1]
    assert (last["done"], last["total"]) == (6, 6)
    assert last["metrics"]["answers_per_minute"] > 0


def test_rows_with_tools_are_passed_over_and_text_is_refused(server: Any, tmp_path: Path) -> None:
    tools = make_row("asks", {"messages": chat("a", "b")["messages"], "tools": [{"type": "function"}]})
    told = asked_of(server, tmp_path / "one", prompts(tmp_path / "one", [tools, chat("c", "d")]))
    assert told.facts["passed_over"] == {"with tools": 1}
    with pytest.raises(DataError, match="of the kind text"):
        asked_of(server, tmp_path / "two", prompts(tmp_path / "two", [make_row("t", {"text": "once"})]))
    with pytest.raises(DataError, match="no prompts to ask"):
        asked_of(server, tmp_path / "three", prompts(tmp_path / "three", [tools]))


def test_not_one_usable_answer_is_an_error_with_the_reason(server: Any, tmp_path: Path, six: Artifact) -> None:
    server.faults = [school.completes("half", "length")] * 6
    with pytest.raises(DataError, match="not one answer") as caught:
        asked_of(server, tmp_path, six)
    assert caught.value.why == "too long: 6"
    assert "datasets.told.max_tokens" in caught.value.next


def test_a_limit_asks_few_and_always_the_same(server: Any, tmp_path: Path, six: Artifact) -> None:
    told = asked_of(server, tmp_path, six, limit=2)
    assert (len(server.asked), told.facts["passed_over"]) == (2, {"over the limit": 4})
    forget(tmp_path)
    assert answers_of(asked_of(server, tmp_path, six, limit=2)) == answers_of(told)


# --- going on -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_a_kill_loses_at_most_what_is_under_way(server: Any, tmp_path: Path, six: Artifact) -> None:
    def emit(event: dict[str, Any]) -> None:
        if event.get("unit") == "answer" and event["done"] == 3:
            raise Killed

    with pytest.raises(Killed):
        asked_of(server, tmp_path, six, emit=emit)
    before = len(server.asked)
    assert before <= 3 + 2  # answered, and under way at a concurrency of 2
    shutil.rmtree(tmp_path / "cache")  # what is in scratch is enough
    forget(tmp_path)
    told = asked_of(server, tmp_path, six)
    assert len(server.asked) == before + 3
    assert len(answers_of(told)) == 6


def test_a_line_that_a_kill_cut_short_is_asked_again(server: Any, tmp_path: Path, six: Artifact) -> None:
    asked_of(server, tmp_path, six)
    shutil.rmtree(tmp_path / "cache")
    (file,) = (tmp_path / "scratch").glob("*/answers.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    forget(tmp_path)
    assert len(answers_of(asked_of(server, tmp_path, six))) == 6
    assert len(server.asked) == 7
    assert len(file.read_text().splitlines()) == 7


def test_a_dataset_that_grew_by_a_prompt_costs_one_question(server: Any, tmp_path: Path, six: Artifact) -> None:
    asked_of(server, tmp_path / "then", six)
    more = prompts(tmp_path / "now", [chat(f"Question {n}", "an old answer") for n in range(7)])
    asked_of(server, tmp_path / "now", more)
    assert len(server.asked) == 7
    asked_of(server, tmp_path / "other", more, temperature=0.2)
    assert len(server.asked) == 14  # another question altogether


def test_the_users_wish_to_stop_is_heard_while_the_server_hangs(server: Any, tmp_path: Path, six: Artifact) -> None:
    server.faults = [hangs, hangs]
    with pytest.raises(Interrupted):
        asked_of(server, tmp_path, six, stopping=lambda: len(server.asked) >= 2)


# --- what is told -------------------------------------------------------------------------------------------------


def notes(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events if event["kind"] == "note"]


def test_what_will_be_asked_is_told_before_the_first_question(server: Any, tmp_path: Path, six: Artifact) -> None:
    told: list[tuple[int, str]] = []

    def emit(event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            told.append((len(server.asked), event["text"]))

    asked_of(server, tmp_path, six, emit=emit, limit=2, samples=2)
    assert told[0] == (0, f"tiny at {server.url} is asked for 4 answers to 2 prompts")
    forget(tmp_path)
    told.clear()
    pace = {"pace": {"timeout_s": 5.0, "concurrency": 2, "requests_per_minute": 6000.0}}
    asked_of(server, tmp_path, six, emit=emit, samples=2, hints=pace)
    expected = "12 answers to 6 prompts, 4 kept: 8 to ask; at 6000 a minute that takes 0.1 s or more"
    assert told[0] == (4, f"tiny at {server.url} is asked for {expected}")
    forget(tmp_path)
    told.clear()
    asked_of(server, tmp_path, six, emit=emit, samples=2, hints=pace)
    assert told[0] == (12, f"tiny at {server.url} is asked for 12 answers to 6 prompts, all of them kept")


def test_what_is_waited_for_is_told_while_it_is_and_not_of_every_question(
    server: Any, tmp_path: Path, six: Artifact
) -> None:
    server.faults = [says(503, "warming up")] * 5
    events: list[dict[str, Any]] = []
    asked_of(server, tmp_path, six, emit=events.append)
    waiting = [text for text in notes(events) if text.startswith("no answer")]
    assert waiting == [
        f"no answer from tiny at {server.url} yet: it answers 503: it says: warming up; try 2 of 4 in 0.0 s"
    ]


def test_a_server_that_only_asks_to_slow_down_is_told_with_what_to_write(
    server: Any, tmp_path: Path, six: Artifact
) -> None:
    server.faults = [says(429, "slow down")] * 20
    with pytest.raises(TeacherUnreachable) as caught:
        asked_of(server, tmp_path, six)
    assert "it answers 429: it says: slow down" in caught.value.why
    assert caught.value.next.startswith("set datasets.told.requests_per_minute to what it allows")


# --- a server that misbehaves -------------------------------------------------------------------------------------


FAULTS = {"429": says(429, Retry_After="0"), "500": says(500), "503": says(503), "cut": cut, "text": school.completes}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_passes_is_waited_for(server: Any, tmp_path: Path, six: Artifact, fault: Any) -> None:
    def nonsense(handler: Handler) -> bool:
        handler.reply(200, ["no completion"])
        return True

    server.faults = [nonsense if fault is school.completes else fault] * 2
    assert len(answers_of(asked_of(server, tmp_path, six))) == 6
    assert len(server.asked) == 8


def test_a_server_that_hangs_is_left_after_timeout_s(server: Any, tmp_path: Path, six: Artifact) -> None:
    server.faults = [hangs]
    pace = {"pace": {"timeout_s": 0.2, "concurrency": 1}}
    assert len(answers_of(asked_of(server, tmp_path, six, hints=pace))) == 6


def test_patience_ends_with_a_letter_and_keeps_what_there_is(server: Any, tmp_path: Path, six: Artifact) -> None:
    pace = {"pace": {"timeout_s": 5.0, "concurrency": 1}}
    server.faults = [lambda handler: False, *[says(502, "upstream is away")] * 4]
    with pytest.raises(TeacherUnreachable, match="gives no answer") as caught:
        asked_of(server, tmp_path, six, hints=pace)
    assert "it answers 502: it says: upstream is away" in caught.value.why
    forget(tmp_path)
    asked_of(server, tmp_path, six, hints=pace)
    assert len(server.asked) == 5 + 5


def test_no_server_at_all_is_told(tmp_path: Path, six: Artifact) -> None:
    with school.serving() as server:
        pass
    with pytest.raises(TeacherUnreachable, match=r"ConnectError|gives no answer"):
        asked_of(server, tmp_path, six)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 307])
def test_a_no_is_taken_as_a_no(server: Any, tmp_path: Path, six: Artifact, status: int) -> None:
    server.faults = [says(status, "not for you")] * 2
    with pytest.raises(TeacherRefused, match=str(status)) as caught:
        asked_of(server, tmp_path, six)
    assert "not for you" in caught.value.why
    assert len(server.asked) <= 2


def test_a_connection_that_opens_after_a_refusal_is_closed_too(
    server: Any, tmp_path: Path, six: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, connect = itertools.count(), socket.create_connection

    def slow_second(*args: Any, **kwargs: Any) -> socket.socket:
        if next(opened) == 1:
            time.sleep(0.1)  # the first question has been refused by then
        return connect(*args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", slow_second)
    server.faults = [says(403, "not for you")]
    with pytest.raises(TeacherRefused):
        asked_of(server, tmp_path, six, hints={"pace": {"timeout_s": 5.0, "concurrency": 2}})
    gc.collect()  # a socket that nobody closed is a warning here, and warnings are errors


def test_a_wait_that_is_too_long_ends_the_step_at_once(server: Any, tmp_path: Path, six: Artifact) -> None:
    server.faults = [says(429, "come back tomorrow", Retry_After="86400")] * 2
    with pytest.raises(TeacherUnreachable) as caught:
        asked_of(server, tmp_path, six)
    assert "it says: come back tomorrow, and asks to wait 24 h 0 min" in caught.value.why


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after("-7") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("Fri, 31 Dec 2999 23:59:59 GMT") > 1e9
    assert retry_after("") == retry_after("soon") == 0


def test_questions_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    slept: list[float] = []
    pace = endpoint._Pace(60.0 / 30, type("Never", (), {"wait": lambda self, seconds: slept.append(seconds)})())  # type: ignore[arg-type]
    monkeypatch.setattr(endpoint.time, "monotonic", lambda: now[0])
    for _ in range(3):
        pace.take_turn()
    assert slept == [0.0, 2.0, 4.0]
    pace.hold(60.0)
    pace.take_turn()
    assert slept[-1] == 60.0


# --- the key ------------------------------------------------------------------------------------------------------


def test_the_key_goes_into_its_header_and_nowhere_else(
    server: Any, tmp_path: Path, six: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "s3cret-and-long")
    events: list[dict[str, Any]] = []
    asked_of(server, tmp_path, six, hints={"api_key_env": "ACME_KEY"}, emit=events.append)
    assert {headers["Authorization"] for _, _, headers in server.asked} == {"Bearer s3cret-and-long"}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()
    assert "s3cret" not in json.dumps(events)
    server.faults = [says(401, "bad key s3cret-and-long")] * 2
    with pytest.raises(TeacherRefused) as caught:
        asked_of(server, tmp_path / "b", six, hints={"api_key_env": "ACME_KEY"}, seed=9)
    assert "s3cret" not in str(caught.value)
    assert "export ACME_KEY" in caught.value.next
    monkeypatch.delenv("ACME_KEY")
    with pytest.raises(TeacherRefused, match="ACME_KEY is not set"):
        asked_of(server, tmp_path / "c", six, hints={"api_key_env": "ACME_KEY"}, seed=8)


# --- models on this machine ---------------------------------------------------------------------------------------


def test_a_model_folder_writes_and_a_killed_run_ends_with_the_same_rows(tmp_path: Path, tiny_llama: Path) -> None:
    given = prompts(tmp_path, [chat("word " * (n % 5 + 1) + str(n), "x") for n in range(20)])
    model = base_artifact(tiny_llama, tmp_path / "model")
    model = Artifact("model", model.path)
    (model.path / "facts.json").write_text(json.dumps({"stop_token_ids": list(range(2, 30000))}))  # it rambles else
    one = school.step({}, max_tokens=6)
    inputs = {"prompts": given, "teacher:told": model}
    whole = do_step(STAGE, one, tmp_path / "whole", inputs)
    shutil.rmtree(tmp_path / "cache")

    def emit(event: dict[str, Any]) -> None:
        if event.get("unit") == "answer" and event["done"] == 11:  # within the second batch
            raise Killed

    with pytest.raises(Killed):
        do_step(STAGE, one, tmp_path / "killed", inputs, emit=emit)
    forget(tmp_path / "killed")
    shutil.rmtree(tmp_path / "cache")
    again = do_step(STAGE, one, tmp_path / "killed", inputs)
    assert rows_of(again) == rows_of(whole)
    assert again.facts == whole.facts
    assert whole.facts["train"] + sum(whole.facts["answers_dropped"].values()) == 20


@pytest.mark.slow
def test_llama_cpp_writes_from_a_gguf_file_behind_a_socket_and_as_a_server(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    given = prompts(tmp_path, [chat("What is two plus two?", "x"), chat("Hi", "Hello!", "Who are you?", "x")])
    by_file = do_step(
        STAGE, school.of_gguf(smollm2_gguf(), temperature=0.0, max_tokens=200), tmp_path / "file", {"prompts": given}
    )
    assert rows_of(by_file)
    assert all(len(answer) > 3 for answer in answers_of(by_file))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(smollm2_gguf(), 1024, port=port):
        server = type("Llama", (), {"url": f"http://127.0.0.1:{port}/v1"})
        pace = {"pace": {"timeout_s": 300.0, "concurrency": 2}}
        told = asked_of(server, tmp_path / "server", given, temperature=0.0, max_tokens=200, hints=pace)
    assert answers_of(told) == answers_of(by_file)
    with pytest.raises(DataError, match="cannot run broken"):
        (tmp_path / "broken.gguf").write_bytes(b"GGUF nonsense")
        do_step(STAGE, school.of_gguf(tmp_path / "broken.gguf"), tmp_path / "broken", {"prompts": given})
