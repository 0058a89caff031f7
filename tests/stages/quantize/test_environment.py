"""Environments of their own, with a real one: small, made of a wheel that lies beside the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.quantize.environment import LISTS, MARKER, Environment
from variantforge.step import Step, StepContext

SPEAKS = """
import json, os, sys, threading, time

def tell(**event):
    print(json.dumps(event), flush=True)

job = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
"""
WAITS = """
with open(job["pid"] + ".tmp", "w") as file:
    file.write(str(os.getpid()))
os.rename(job["pid"] + ".tmp", job["pid"])
time.sleep(600)
"""


def context(root: Path, **more: Any) -> StepContext:
    root.mkdir(parents=True, exist_ok=True)
    return StepContext(Step("quantize", 1, "gptq"), {}, root, root, **more)


def script(folder: Path, body: str) -> Path:
    (folder / "worker.py").write_text(SPEAKS + body)
    return folder / "worker.py"


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_list_pins_every_package_exactly_and_once(path: Path) -> None:
    pins = [line for block in Environment.of(path.stem).blocks for line in block]
    assert len(pins) > 10
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", pin)] == []
    names = [pin.partition("==")[0].lower() for pin in pins]
    assert len(set(names)) == len(names)


def test_another_list_is_another_environment_and_a_comment_is_none(tmp_path: Path) -> None:
    def folder(pins: str) -> Path:
        return Environment("x", pins, tmp_path).folder

    assert folder("a==1\n\nb==2\n") == folder("# first\na==1  # why\n\n\n# then\nb==2")
    assert len({folder("a==1\nb==2"), folder("a==1\n\nb==2"), folder("a==1\nb==3")}) == 3
    assert Environment("x", "# only words\na==1\n\nb==2\nc==3", tmp_path).blocks == [["a==1"], ["b==2", "c==3"]]


# --- making ---------------------------------------------------------------------------------------------------------


def write_wheel(folder: Path, name: str) -> None:
    info = f"{name}-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "ANSWER = 42\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds two small wheels, and nothing else."""
    for name in ("tinyone", "tinytwo"):
        write_wheel(tmp_path / "wheels", name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.mark.slow
def test_an_environment_is_made_once_by_one_process_and_anew_when_it_was_left_half_made(
    offline: None, tmp_path: Path
) -> None:
    notes: list[str] = []
    progress: list[tuple[float, float]] = []

    def emit(event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            notes.append(event["text"])
        else:
            progress.append((event["done"], event["total"]))

    environment = Environment("tiny", "tinyone==1.0\n\ntinytwo==1.0\n", tmp_path / "environments")
    (environment.folder / "bin").mkdir(parents=True)
    (environment.folder / "bin" / "junk").write_text("of somebody who was killed")
    assert not environment.ready
    makers = [
        threading.Thread(target=environment.make, args=[context(tmp_path / name, emit=emit)]) for name in ("one", "two")
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert sorted(notes) == [
        "another process makes the same environment: waiting for it",
        "tiny works in an environment of its own: 2 packages are installed, this once",
    ]
    assert progress[-1] == (2, 2)
    assert environment.ready
    assert not (environment.folder / "bin" / "junk").exists()
    environment.make(context(tmp_path / "again", emit=emit))
    assert len(notes) == 2
    _what_it_does(environment, tmp_path)


def _what_it_does(environment: Environment, root: Path) -> None:
    """One environment serves all of these: making another takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "PYTHONPATH"):
            patch.setenv(name, "secret")
        events: list[dict[str, Any]] = []
        job = {"x": [1, 2]}
        at = context(root / "run", emit=events.append)
        body = """
import tinyone, tinytwo
print("a library talks", file=sys.stderr)
tell(kind="progress", done=1, total=2, unit="layer")
tell(kind="note", text="halfway")
tell(kind="done", facts={"answer": tinyone.ANSWER, "job": job, "environment": dict(os.environ), "path": sys.path,
                         "folder": os.getcwd()})
"""
        found = environment.run(script(at.out, body), job, at)
    assert (found["answer"], found["job"]) == (42, job)
    assert "secret" not in found["environment"].values()
    assert found["environment"]["HOME"].startswith(str(root / "run"))
    assert found["environment"]["HF_HUB_OFFLINE"] == "1"
    assert found["folder"] == str(at.scratch)  # gptqmodel leaves its logs where it is
    assert not [
        path for path in found["path"] if "variantforge" in path or path.startswith(f"{sys.prefix}/lib/python3")
    ]
    assert [event["kind"] for event in events] == ["progress", "note"]
    _how_it_fails(environment, root)


def _how_it_fails(environment: Environment, root: Path) -> None:
    at = context(root / "failing")
    with pytest.raises(QuantizeError, match="tiny could not quantize the model") as caught:
        environment.run(script(at.out, 'tell(kind="failed", why="ValueError: no such layer")'), {}, at)
    assert caught.value.why == "ValueError: no such layer"
    body = 'print("out of luck", file=sys.stderr, flush=True)\nos._exit(3)'
    with pytest.raises(QuantizeError, match=r"ended without a result \(exit code 3\)") as caught:
        environment.run(script(at.out, body), {}, at)
    assert "out of luck" in caught.value.why
    pid = at.out / "pid"
    asked = context(root / "failing", stopping=pid.exists)
    with pytest.raises(Interrupted):
        environment.run(script(at.out, WAITS), {"pid": str(pid)}, asked)
    assert not Path(f"/proc/{pid.read_text()}").exists()
    _how_it_dies_with_us(environment, root)


def _how_it_dies_with_us(environment: Environment, root: Path) -> None:
    at = context(root / "dying")
    pid = at.out / "pid"
    worker = script(at.out, WAITS)
    program = (
        "import sys; from pathlib import Path; from tests.stages.quantize.test_environment import context\n"
        "from variantforge.stages.quantize.environment import Environment\n"
        f"Environment('tiny', {environment.pins!r}, Path({str(environment.root)!r})).run("
        f"Path({str(worker)!r}), {{'pid': {str(pid)!r}}}, context(Path({str(at.out)!r})))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    while not pid.exists():
        assert parent.poll() is None
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{pid.read_text()}").exists():  # the test's own limit bounds this
        time.sleep(0.05)


@pytest.mark.slow
def test_a_package_that_cannot_be_had_ends_the_step_with_what_pip_says(offline: None, tmp_path: Path) -> None:
    environment = Environment("tiny", "tinyone==1.0\n\nnosuchpackage==9.9\n", tmp_path / "environments")
    with pytest.raises(QuantizeError, match="the environment for tiny could not be made") as caught:
        environment.make(context(tmp_path / "step"))
    assert "nosuchpackage==9.9" in caught.value.why
    assert "take tiny out of quantize" in caught.value.next
    assert not environment.ready


@pytest.mark.slow
def test_asked_to_stop_while_it_is_made_nothing_is_left_that_looks_ready(offline: None, tmp_path: Path) -> None:
    environment = Environment("tiny", "tinyone==1.0\n", tmp_path / "environments")
    with pytest.raises(Interrupted):
        environment.make(context(tmp_path / "step", stopping=lambda: (environment.folder / "pyvenv.cfg").exists()))
    assert not (environment.folder / MARKER).exists()
