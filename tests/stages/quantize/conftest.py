"""Artifacts to quantize: tiny merged models, and the 16-bit GGUF file made of one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.bench import do_step
from tests.llama_cpp import program
from variantforge.stages.quantize.gguf_types import TYPES
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE
from variantforge.step import Artifact


def artifact(folder: Path, *, model: Path | None = None, facts: Mapping[str, object] | None = None) -> Artifact:
    """A finished step's folder, its key being the folder's name."""
    folder.mkdir(parents=True)
    (folder / "facts.json").write_text(json.dumps(facts or {}))
    if model:
        (folder / "model").symlink_to(model)
    return Artifact(folder.name, folder)


def quantize(root: Path, method: str, type: str, inputs: Mapping[str, Artifact], **context: object) -> Artifact:
    step = quantize_step(method, type, {role: input.key for role, input in inputs.items()})
    return do_step(STAGE, step, root, inputs, **context)


def source_of(model: Path, root: Path, **context: object) -> Artifact:
    """``gguf:source`` of a model folder, made by llama.cpp's converter (some seconds)."""
    base = artifact(root / "base", facts={"name": "acme/Tiny-Base"})
    return quantize(root, "gguf", "source", {"model": artifact(root / "merged", model=model), "base": base}, **context)


@pytest.fixture(scope="session")
def llama_source(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return source_of(tiny_llama, tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def qwen3_source(tiny_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return source_of(tiny_qwen3, tmp_path_factory.mktemp("qwen3"))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No llama-quantize on this machine."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)


@pytest.fixture
def llama_quantize() -> Callable[[Path, Path, str, Path | None], bool]:
    """The real program: ``(source, target, type, imatrix)`` -> whether it did it. Skips where there is none."""

    def run(source: Path, target: Path, type: str, imatrix: Path | None = None) -> bool:
        return _llama_quantize([source, target, type], imatrix).returncode == 0

    return run


@pytest.fixture
def llama_quantize_plan() -> Callable[[Path, str, Path | None], dict[str, str]]:
    """What the real program would do: ``(source, type, imatrix)`` -> type of each tensor; {} when it would refuse."""

    def run(source: Path, type: str, imatrix: Path | None = None) -> dict[str, str]:
        done = _llama_quantize(["--dry-run", source, type], imatrix)
        if done.returncode or "will require an imatrix" in done.stdout:
            return {}
        told = re.findall(r"^\[ *\d+/ *\d+\] (\S+) .* type = +(\w+), size = .*?(?:\((\w+)\))?$", done.stdout, re.M)
        return {name: _TYPE_NAMES[after or before] for name, before, after in told}

    return run


_TYPE_NAMES = {re.sub("_k$", "_K", name.lower()): name for name in TYPES}


def _llama_quantize(arguments: list[str | Path], imatrix: Path | None) -> subprocess.CompletedProcess[str]:
    weighed = ["--imatrix", imatrix.name] if imatrix else []  # its path would be told in the file
    command = [program("llama-quantize"), *weighed, *arguments]
    folder = imatrix.parent if imatrix else None
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
