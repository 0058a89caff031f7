"""A step in its own process: what comes back, what is kept from it, and that it never outlives its parent."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.run import toys
from variantforge.errors import Interrupted, NonFiniteLoss, StepError
from variantforge.run import isolated
from variantforge.run.isolated import Isolated
from variantforge.step import Pin, Step


def job(kind: type, folder: Path, **pins: Pin) -> Any:
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    return kind(Step("train", 1, "toy", pins=pins), {}, folder / "out", folder / "scratch", "toy")


def run(made: Any, stopping: Any = lambda: False) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    finish(Isolated(preload=[]).run(made, events.append, stopping))
    return events


def finish(work: Any) -> None:
    """What a run does of a step at work: waits with it."""
    for waits in work:
        multiprocessing.connection.wait(waits, timeout=0.2)


def test_a_step_runs_elsewhere_and_its_events_come_back(tmp_path: Path) -> None:
    assert run(job(toys.TellingJob, tmp_path))
    assert int((tmp_path / "out" / "pid").read_text()) != os.getpid()


def test_a_named_error_comes_back_whole(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss) as caught:
        run(job(toys.FailingJob, tmp_path))
    assert (caught.value.why, caught.value.next) == ("learning_rate 9", "lower it")


def test_an_unforeseen_error_comes_back_as_a_step_error(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="ZeroDivisionError: unforeseen"):
        run(job(toys.CrashingJob, tmp_path))


def test_a_step_that_somebody_kills_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="killed from outside") as caught:
        run(job(toys.KilledJob, tmp_path))
    assert "the same command" in caught.value.next


def test_a_step_goes_before_its_parent_when_memory_runs_out(tmp_path: Path) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    (told,) = run(job(toys.ScoreJob, tmp_path))
    assert int(told["text"]) == min(own + 500, 1000)


def test_a_step_asked_to_stop_saves_first(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="step 3"):
        run(job(toys.PatientJob, tmp_path), stopping=lambda: True)
    assert (tmp_path / "scratch" / "checkpoint").read_text() == "saved"


def test_a_step_that_does_not_listen_is_ended_after_a_grace(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.5)
    output = tmp_path / "scratch" / isolated.OUTPUT
    with pytest.raises(Interrupted):  # asked to stop once it is at work: a busy machine starts it late
        run(job(toys.DeafJob, tmp_path), stopping=lambda: output.exists() and output.read_text() != "")
    assert capfd.readouterr().out == ""
    assert output.read_text() == "a library says hello\n"


def test_a_process_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="exit code 7") as caught:
        run(job(toys.ExitingJob, tmp_path))
    assert caught.value.why == "the library's last words"


def test_a_step_sees_no_token_but_one_that_reads_the_hub(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "os.environ['HF_TOKEN'] = 'hf_canary'\n"
        "from tests.run.test_isolated import job, run, toys, Pin\n"
        "pins = {'model': Pin('x', sys.argv[2])}\n"
        "print(run(job(toys.TellingJob, Path(sys.argv[1]), **pins))[0]['text'])\n"
        "assert os.environ['HF_TOKEN'] == 'hf_canary'"
    )
    for name, at, told in (("local", "/data/rows", "None"), ("hub", "hub:org/name@abc", "hf_canary")):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name), at], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == f"HF_TOKEN is {told}"


_LOGIN = (
    "import os, sys; from pathlib import Path\n"
    "from tests.run.test_isolated import job, run, toys, Pin\n"
    "pins = {'model': Pin('x', sys.argv[2])}\n"
    "print(run(job(toys.LoginJob, Path(sys.argv[1]), **pins))[0]['text'])\n"
)


@pytest.mark.parametrize(
    ("at", "oidc", "told"),
    [
        ("hub:org/name@abc", {}, "hf_stored_canary []"),
        ("/data/rows", {}, "None []"),
        ("hub:org/name@abc", {"HF_OIDC_RESOURCE": "acme/x", "HF_OIDC_ID_TOKEN": "identity"}, "None []"),
        (
            "hub:org/name@abc",
            {"HF_OIDC_RESOURCE": "acme/x", "HF_OIDC_ID_TOKEN": "identity", "HF_TOKEN": "hf_reading"},
            "hf_reading []",
        ),
    ],
)
def test_the_stored_login_reaches_only_a_step_that_reads_the_hub(
    tmp_path: Path, at: str, oidc: dict[str, str], told: str
) -> None:
    """A Trusted Publisher's identity reaches no step: it is for the repos that are published."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_stored_canary")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    done = subprocess.run(
        [sys.executable, "-c", _LOGIN, str(tmp_path), at],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, **oidc, "HF_HOME": str(home)},
    )
    assert done.stdout.strip() == told


def test_a_step_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.run.test_isolated import finish, job, toys, Isolated\n"
        "patient = job(toys.PatientJob, Path(sys.argv[1]))\n"
        "finish(Isolated(preload=[]).run(patient, lambda event: print(event['pid'], flush=True), lambda: False))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_signal_to_the_whole_group_lets_the_step_save(tmp_path: Path) -> None:
    script = (
        "import signal, sys, threading; from pathlib import Path\n"
        "from tests.run.test_isolated import Isolated, finish, job, toys\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        "patient = job(toys.PatientJob, Path(sys.argv[1]))\n"
        "try: finish(Isolated(preload=[]).run(patient, lambda event: print('started', flush=True), stop.is_set))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    os.killpg(parent.pid, signal.SIGTERM)
    assert parent.communicate(timeout=60)[0] == "Interrupted stopped at step 3\n"
    assert (tmp_path / "scratch" / "checkpoint").read_text() == "saved"


def test_a_signal_that_comes_while_a_process_is_started_is_not_lost() -> None:
    """Whatever other threads there are: the system may hand it to any that does not block it."""
    heard: list[int] = []
    over = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    others = [threading.Thread(target=over.wait) for _ in range(4)]
    try:
        for thread in others:
            thread.start()
        with isolated.deaf_to_signals():
            os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heard == [signal.SIGTERM]
    finally:
        over.set()
        for thread in others:
            thread.join()
        signal.signal(signal.SIGTERM, before)


def test_the_fork_server_blocks_what_reaches_the_whole_group_and_a_step_ignores_it() -> None:
    script = (
        "import os, signal\n"
        "from multiprocessing import forkserver\n"
        "from variantforge.run.isolated import Isolated\n"
        "Isolated(preload=[]).warm_up()\n"
        "print(open(f'/proc/{forkserver._forkserver._forkserver_pid}/status').read())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout
    blocked = int(next(line for line in told.splitlines() if line.startswith("SigBlk")).split()[1], 16)
    assert all(blocked >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGHUP))
