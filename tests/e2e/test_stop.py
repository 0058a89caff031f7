"""SIGTERM in every phase of an apply: what can be kept is kept, the exit code is 5, and the same command goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.family import write_family
from tests.e2e.kills import digests

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-u", "-m", "variantforge", "apply", "--only", "lora"]
# What the output says when the phase has begun; a step is told when it starts, and while it runs.
PHASES = {
    "base": "] base ",
    "data": "] data ",
    "train, before its first step": "] train lora\n",
    "train, at a step": "] train lora: ",
    "merge": "] merge lora",
    "quantize nf4": "] quantize lora nf4",
    "convert": "] quantize lora gguf:source",
    "quantize gguf": "] quantize lora gguf:Q4_K_M",
    "evaluate": "] evaluate lora heldout:merged",
    "evaluate gguf": "] evaluate lora heldout:gguf:Q8_0",
    "gate": "] gate lora",
    "card": "] card lora",
    "publish": "] publish lora",
}


def started(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def whole(folder: Path) -> None:
    done = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def until(lines: Iterator[str], words: str) -> list[str]:
    seen = []
    for line in lines:
        seen.append(line)
        if words in line:
            break
    return seen


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> dict[str, str]:
    """What an apply that nobody stops publishes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_family(folder, tiny_llama)
    whole(folder)
    return digests(folder / "published")


def test_stopped_in_every_phase_one_after_the_other_it_ends_as_if_it_was_not(
    tiny_llama: Path, tmp_path: Path, published: dict[str, str]
) -> None:
    write_family(tmp_path, tiny_llama)
    codes: dict[str, int] = {}
    for phase, words in PHASES.items():
        with started(tmp_path) as running:
            assert running.stdout is not None
            seen = until(iter(running.stdout.readline, ""), words)
            running.send_signal(signal.SIGTERM)
            rest, _ = running.communicate(timeout=60)
        codes[phase] = running.returncode
        assert "Traceback" not in "".join(seen) + rest
        if words not in seen[-1]:
            pytest.fail(f"{phase} was never begun:\n{''.join(seen)}{rest}")
    assert codes == dict.fromkeys(PHASES, 5)
    whole(tmp_path)
    assert digests(tmp_path / "published") == published
