"""vLLM loads our folders and answers. Needs a GPU and vLLM, in the environment of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.quantize.conftest import artifact, quantize


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("format", ["fp8", "w4a16", "w8a8"])
def test_vllm_serves_the_folder(format: str, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    vllm = pytest.importorskip("vllm", reason="needs vLLM: pip install vllm")
    from tests.tiny import tiny_model

    model = tiny_model(tmp_path / "model", hidden=256)
    made = quantize(tmp_path, format, "", {"model": artifact(tmp_path / "merged", model=model)})
    llm = vllm.LLM(str(made.path / "model"), max_model_len=256, enforce_eager=True, gpu_memory_utilization=0.2)
    (answer,) = llm.generate(["def reverse("], vllm.SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True))
    assert len(answer.outputs[0].token_ids) == 8
