"""GPTQ and AWQ. The real thing runs where its environment is there already: making it takes minutes and an index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.quantize.conftest import artifact, quantize
from tests.stages.quantize.test_stage import at, planned
from variantforge.hashing import file_digest
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import inherit
from variantforge.stages.models import load_model
from variantforge.stages.quantize.environment import Environment
from variantforge.stages.quantize.gptq import ENVIRONMENT, python_that_reads
from variantforge.step import Artifact, Step, StepContext


def family(**variant: object) -> FamilySpec:
    code = {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["gptq"], **variant}
    return inherit(FamilySpec.model_validate({"family": "f", "base": {"model": "./base"}, "variants": {"code": code}}))


def test_without_text_to_read_it_is_a_problem_with_the_edit() -> None:
    _, problems = planned(family())
    assert problems == {
        "variants.code.quantize[0]": "gptq must read text to see which weights matter: declare it beside 'quantize', "
        "e.g. calibration: {tokens: 131072}"
    }


def test_it_reads_the_calibration_that_the_variant_declares() -> None:
    draft, problems = planned(family(calibration={"tokens": 4096}))
    assert problems == {}
    assert at(draft, "gptq").inputs.keys() == {"model", "calibration"}
    assert at(draft, "gptq").inputs["calibration"] == at(draft, "calibration").key


def test_other_folders_are_read_by_our_own_python(tiny_llama: Path, tmp_path: Path) -> None:
    import sys

    context = StepContext(Step("evaluate", 1, "parity"), {}, tmp_path, tmp_path)
    assert python_that_reads(tiny_llama, context) == Path(sys.executable)


# --- in its environment ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    made = artifact(tmp_path_factory.mktemp("calibration") / "rows")
    rows = [[(place * 7919 + row * 104_729) % 40_000 for place in range(96)] for row in range(32)]
    (made.path / "calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def require_environment() -> None:
    if not Environment.of(ENVIRONMENT).ready:
        pytest.skip(f"needs {ENVIRONMENT}: XDG_CACHE_HOME=$PWD/.cache/xdg vf apply a family with it")


@pytest.mark.slow
def test_gptq_makes_a_folder_that_says_nearly_what_the_model_says_twice_with_the_same_bytes(
    tiny_qwen3: Path, calibration: Artifact, tmp_path: Path
) -> None:
    import torch

    require_environment()
    model = artifact(tmp_path / "merged", model=tiny_qwen3)
    inputs = {"model": model, "calibration": calibration}
    made, again = (quantize(tmp_path / name, "gptq", "", inputs) for name in ("one", "two"))
    assert made.facts["tensor_types"] == {"BF16": 11, "INT4": 14}
    assert made.facts["calibration"] == {"rows": 32, "tokens": 32 * 96}
    assert made.facts["group_size"] == 64
    for path in (made.path / "model").iterdir():
        assert file_digest(again.path / "model" / path.name) == file_digest(path), path.name
    config = json.loads((made.path / "model" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "gptq"
    assert str(tmp_path) not in json.dumps(config)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (made.path / "model" / name).read_bytes() == (tiny_qwen3 / name).read_bytes()
    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        quantized = load_model(made.path / "model")(tokens).logits
        original = load_model(tiny_qwen3)(tokens).logits
    assert not quantized.equal(original)
    assert (quantized - original).std() < 0.3 * original.std()


@pytest.mark.gpu
@pytest.mark.slow
def test_awq_makes_a_folder_that_says_nearly_what_the_model_says(
    tiny_qwen3: Path, calibration: Artifact, tmp_path: Path
) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    require_environment()
    inputs = {"model": artifact(tmp_path / "merged", model=tiny_qwen3), "calibration": calibration}
    made = quantize(tmp_path, "awq", "", inputs)
    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        quantized = load_model(made.path / "model")(tokens).logits
        original = load_model(tiny_qwen3)(tokens).logits
    assert (quantized - original).std() < 0.3 * original.std()
