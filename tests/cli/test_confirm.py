"""The question before a Hub is written to, asked at a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

ASKING = """
from variantforge.cli.hub import confirm
from variantforge.cli.output import Output
from variantforge.errors import Refused
try:
    confirm(Output(["apply"]), False, "Write this?")
    print("written")
except Refused as error:
    print(error)
"""


def answered(answer: bytes) -> str:
    """What stands on the terminal after an answer was typed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", ASKING], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"yes: " not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, answer)
        while True:
            try:
                if not (more := os.read(ours, 1000)):
                    break
            except OSError:  # Linux's way to say that nobody has the terminal open any more
                break
            seen += more
        assert process.wait(timeout=60) == 0
    os.close(ours)
    return seen.decode()


def test_yes_is_taken_as_yes() -> None:
    assert "Write this? Only 'yes' is taken as yes: " in answered(b"yes\n")
    assert "written" in answered(b"YES\n")


@pytest.mark.parametrize("answer", [b"\n", b"y\n", b"no\n", b"\x04"])
def test_anything_else_is_a_no_with_the_command_that_would_not_ask(answer: bytes) -> None:
    told = answered(answer)
    assert "written\r" not in told
    assert "nothing was written to the Hub" in told
    assert "Next: vf apply --yes" in told
