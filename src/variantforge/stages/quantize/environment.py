"""An environment of its own for a quantizer whose packages cannot live beside ours.

Made on demand from a pinned list, ``environments/<name>.txt``: blocks between blank lines, installed one after another,
so that what is built from sources finds what it is built with. It lies in the user's cache under the hash of the list
and of this Python, so another list is another environment. The marker file is written last, and whoever makes it holds
a lock: a folder without its marker is nobody's, and is made anew.

What is to be done there is one script, in a process of its own: the job as one line of JSON on stdin, events as lines
of JSON from it, the last one ``done`` or ``failed``. It is given no credential, and ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from variantforge import redact
from variantforge.errors import Interrupted, QuantizeError
from variantforge.fsops import make_folder, remove_tree, write_json, write_text
from variantforge.hashing import text_digest
from variantforge.spec.trainer_args import cache_folder
from variantforge.step import StepContext

LISTS = Path(__file__).parent / "environments"
MARKER = "environment.json"
_LAST_LINES = 12  # of a failed program's output, shown to the user
_WAIT_S = 0.2
# What a quantizing process is given of our environment. HOME is not: no login lies where it looks.
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True)
class Environment:
    """``pins``: the text of the list. ``root``: the folder that holds all environments."""

    name: str
    pins: str
    root: Path

    @classmethod
    def of(cls, name: str) -> Environment:
        return cls(name, (LISTS / f"{name}.txt").read_text(), cache_folder() / "environments")

    @cached_property
    def blocks(self) -> list[list[str]]:
        """The requirements, block by block."""
        lines = [line.partition("#")[0].strip() for line in self.pins.splitlines()]
        blocks: list[list[str]] = [[]]
        for line, written in zip(lines, self.pins.splitlines(), strict=True):
            if not written.strip():
                blocks.append([])
            elif line:
                blocks[-1].append(line)
        return [block for block in blocks if block]

    @property
    def folder(self) -> Path:
        python = f"{sys.implementation.cache_tag} {platform.system()} {platform.machine()}"
        pins = json.dumps(self.blocks)
        return self.root / f"{self.name}-{text_digest(f'{python} {pins}')[:16]}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def ready(self) -> bool:
        return (self.folder / MARKER).is_file()

    def make(self, context: StepContext) -> None:
        """Makes the environment where it is not there yet; waits while another process does.

        Raises QuantizeError when something cannot be installed, Interrupted when the user asked to stop.
        """
        if self.ready:
            return
        make_folder(self.root)
        with _locked(self.folder.with_suffix(".lock"), context):
            if not self.ready:
                self._build(context)

    def _build(self, context: StepContext) -> None:
        count = sum(map(len, self.blocks))
        context.note(f"{self.name} works in an environment of its own: {count} packages are installed, this once")
        remove_tree(self.folder)
        self._run([sys.executable, "-m", "venv", str(self.folder)], context)
        pip = [str(self.python), "-m", "pip", "install", "--no-input", "--no-build-isolation", "--progress-bar", "off"]
        collected = 0

        def watch(line: str) -> None:
            nonlocal collected
            if line.startswith(("Collecting ", "Processing ")):
                collected += 1
                context.progress(min(collected, count), count, "package")

        for number, block in enumerate(self.blocks):
            list = self.folder / f"block-{number}.txt"
            write_text(list, "\n".join([*block, ""]))
            self._run([*pip, "--disable-pip-version-check", "-r", str(list)], context, watch)
        write_json(
            self.folder / MARKER, {"name": self.name, "blocks": self.blocks, "python": platform.python_version()}
        )

    def _run(
        self, command: Sequence[str], context: StepContext, watch: Callable[[str], None] = lambda line: None
    ) -> None:
        """One program that makes the environment. It sees our settings (proxies, an index) but no credentials."""
        last: deque[str] = deque(maxlen=_LAST_LINES)
        settings = {**redact.without_secrets(os.environ), "PYTHONNOUSERSITE": "1"}
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            settings.pop(name, None)
        with _process(command, settings, subprocess.STDOUT) as process:
            _close(process.stdin)
            for line in _lines(process, context):
                if line.strip():
                    last.append(line.rstrip())
                    watch(line.strip())
            if process.wait():
                raise QuantizeError(
                    f"the environment for {self.name} could not be made",
                    why="\n".join(last),
                    next=f"see that pip reaches its index and run the same command again, or take {self.name} out of "
                    "quantize",
                )

    def run(self, script: Path, job: Mapping[str, Any], context: StepContext) -> dict[str, Any]:
        """Does ``job`` there, passing progress and notes on; returns what the script says when it is ``done``.

        Raises QuantizeError when it fails, Interrupted when the user asked to stop.
        """
        output = context.scratch / f"{self.name}.txt"
        with (
            open(output, "wb") as errors,
            _process([str(self.python), str(script)], self._given(context), errors, context.scratch) as it,
        ):
            _send(it, job)
            for line in _lines(it, context):
                event = json.loads(line)
                match event["kind"]:
                    case "progress":
                        context.progress(event["done"], event["total"], event.get("unit", ""))
                    case "note":
                        context.note(event["text"])
                    case "done":
                        found: dict[str, Any] = event["facts"]
                        return found
                    case "failed":
                        what = f"{self.name} could not quantize the model"
                        raise QuantizeError(what, why=event["why"], next=event.get("next", ""))
            code = it.wait()
        last = output.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        raise QuantizeError(
            f"the process that quantizes with {self.name} ended without a result (exit code {code})",
            why="\n".join(last) or "It said nothing; Linux kills a process like that when memory runs out.",
        )

    def _given(self, context: StepContext) -> dict[str, str]:
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        home = str(make_folder(context.scratch / "home"))
        settings = {
            "HOME": home,
            "HF_HOME": home,
            "HF_HUB_OFFLINE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
        }
        path = f"{self.folder / 'bin'}{os.pathsep}{passed_on.get('PATH', os.defpath)}"
        return {**passed_on, **settings, "PATH": path, "TOKENIZERS_PARALLELISM": "false"}


@contextlib.contextmanager
def _locked(path: Path, context: StepContext) -> Iterator[None]:
    """Held by one process at a time, and released by its death."""
    from filelock import FileLock, Timeout

    lock, told = FileLock(path), False
    while True:
        try:
            lock.acquire(timeout=_WAIT_S)
            break
        except Timeout:
            if not told:
                context.note("another process makes the same environment: waiting for it")
            told = True
            _stop_if_asked(context)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str], errors: Any, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``folder``: where it runs, for programs that leave files (logs) where they are."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(environment), cwd=folder
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _close(pipe: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # what was still to be written has nobody left to read it
        pipe.close()


def _send(process: subprocess.Popen[bytes], job: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already: its output says why
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()


def _lines(process: subprocess.Popen[bytes], context: StepContext) -> Iterator[str]:
    """Lines of a program as they come. Raises Interrupted when the user asked to stop."""
    assert process.stdout is not None
    descriptor, rest = process.stdout.fileno(), b""
    while True:
        _stop_if_asked(context)
        if not select.select([descriptor], [], [], _WAIT_S)[0]:
            continue
        part = os.read(descriptor, 1 << 16)
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
        if not part:
            if rest:
                yield rest.decode("utf-8", "replace")
            return


def _stop_if_asked(context: StepContext) -> None:
    if context.stopping():
        raise Interrupted(f"stopped while making {context.label or 'a quantized model'}")
