"""Artifacts to quantize: tiny merged models, and the 16-bit GGUF file made of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.bench import do_step
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
def llama_quantize() -> Callable[[Path, Path, str], bool]:
    """The real program: ``(source, target, type)`` -> whether it did it. Skips where there is none."""
    import subprocess

    from variantforge.stages.quantize.llama_cpp import find_quantize

    program = find_quantize()
    if program is None:
        pytest.skip("needs llama-quantize: build llama.cpp and set LLAMA_CPP_DIR to it, or put the program on PATH")

    def run(source: Path, target: Path, type: str) -> bool:
        return subprocess.run([program, source, target, type], capture_output=True).returncode == 0

    return run
