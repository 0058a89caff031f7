"""The importance matrix that torch computes is the one that ``llama-imatrix`` computes of the same text."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.llama_cpp import program
from tests.stages.quantize.conftest import artifact, source_of
from tests.tiny import in_files
from tests.tiny_mixtures import tiny_mixture
from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.layers import load_by_layers
from variantforge.stages.models import load_model
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.stages.quantize.imatrix import FILE, Entry, read_imatrix, write_imatrix
from variantforge.stages.quantize.importance import compute_importance, importance_of
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.step import Artifact, StepContext

GOLDEN = Path(__file__).parent / "golden" / "llama_imatrix"
CHUNK = 128
TEXT = " ".join(
    f"Sentence number {n} speaks of {one} and of {other}."
    for n in range(30)
    for one in ("apples", "rivers")
    for other in ("the sea", "clocks")
)
MODELS = ("llama", "qwen3", "mixtral", "gpt_oss")
# Both compute in float32. gpt-oss: llama.cpp reads its attention sinks and experts' biases in another order of sums.
TOLERANCE = {"llama": 2e-5, "qwen3": 2e-5, "mixtral": 2e-5, "gpt_oss": 1e-3}


@pytest.fixture(scope="module")
def sources(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """Model folder and 16-bit GGUF file of one of ``MODELS``; mixtures are made at the first asking."""

    @cache
    def source(name: str) -> tuple[Path, Path]:
        if name in ("llama", "qwen3"):
            return request.getfixturevalue(f"tiny_{name}"), request.getfixturevalue(
                f"{name}_source"
            ).path / "model.gguf"
        folder = tmp_path_factory.mktemp(name)
        model = tiny_mixture(folder / "model", name)
        return model, source_of(model, folder).path / "model.gguf"

    return source


def rows_of(model: Path) -> list[list[int]]:
    """The text in chunks, as ``llama-imatrix`` reads it."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(TEXT, add_special_tokens=False)["input_ids"]
    return [ids[start : start + CHUNK] for start in range(0, len(ids) - CHUNK + 1, CHUNK)]


def ours(model: Path, source: Path) -> dict[str, Entry]:
    sums = importance_of(load_model(model), GgufFile.open(source), rows_of(model))
    return {name: one.entry() for name, one in sums.items()}


def llama_imatrix(source: Path, folder: Path) -> dict[str, Entry]:
    """What the real program computes, in float32 throughout."""
    imatrix = program("llama-imatrix")
    quantize_file(GgufFile.open(source), folder / "f32.gguf", "F32", lambda done, total: None)
    (folder / "text.txt").write_text(TEXT)
    exact = ["-ctk", "f32", "-ctv", "f32", "-fa", "off", "-c", str(CHUNK), "-b", str(CHUNK), "-ub", str(CHUNK)]
    files = ["-m", "f32.gguf", "-f", "text.txt", "-o", "theirs.gguf"]
    subprocess.run([imatrix, *files, *exact, "--no-ppl", "-t", "1"], cwd=folder, check=True, capture_output=True)
    return dict(read_imatrix(folder / "theirs.gguf").entries)


def told(entries: Mapping[str, Entry]) -> str:
    """Six digits of every sum, and the counts."""
    table = {
        name: {
            "counts": [int(count) for count in entry.counts],
            "in_sum2": [[float(f"{value:.6g}") for value in row] for row in entry.sums],
        }
        for name, entry in sorted(entries.items())
    }
    return json.dumps(table) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_llama_imatrix_computes_the_golden_matrix(
    name: str, sources: Callable[[str], tuple[Path, Path]], golden: Callable[[Path, str], None], tmp_path: Path
) -> None:
    golden(GOLDEN / f"{name}.json", told(llama_imatrix(sources(name)[1], tmp_path)))


@pytest.mark.parametrize(
    "name", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "llama")]
)
def test_torch_computes_what_llama_imatrix_computed(name: str, sources: Callable[[str], tuple[Path, Path]]) -> None:
    expected, found = json.loads((GOLDEN / f"{name}.json").read_text()), ours(*sources(name))
    assert found.keys() == expected.keys()
    for tensor, entry in found.items():
        assert entry.counts.tolist() == expected[tensor]["counts"], tensor
        np.testing.assert_allclose(entry.sums, expected[tensor]["in_sum2"], rtol=TOLERANCE[name], err_msg=tensor)


def context_of(model: Path, source: Path, root: Path, **more: object) -> StepContext:
    text = artifact(root / "text", facts={"tokens": sum(map(len, rows_of(model)))})
    (text.path / "calibration.jsonl").write_text("".join(f"{json.dumps(ids)}\n" for ids in rows_of(model)))
    inputs = {"model": artifact(root / "merged", model=model), "calibration": text}
    inputs["source"] = Artifact("source", source.parent)
    step = quantize_step("gguf", "imatrix", {role: input.key for role, input in inputs.items()})
    out = artifact(root / "out").path
    return StepContext(step, inputs, out, root, **more)  # type: ignore[arg-type]


def test_the_step_writes_a_file_in_llama_cpps_form(sources: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    model, source = sources("llama")
    events: list[dict[str, object]] = []
    context = context_of(model, source, tmp_path, emit=events.append)
    compute_importance(context, GgufFile.open(source))
    file = GgufFile.open(context.out / FILE)
    assert {key: file.get(key) for key in file.fields} == {
        "general.type": "imatrix",
        "imatrix.datasets": ["calibration"],
        "imatrix.chunk_count": 1408 // 512,
        "imatrix.chunk_size": 512,
    }
    assert list(file.tensors)[:2] == ["blk.0.attn_k.weight.in_sum2", "blk.0.attn_k.weight.counts"]
    assert json.loads((context.out / "facts.json").read_text()) == {
        "file": FILE,
        "tokens": 1408,
        "entries": 14,
        "unread": 0,
    }
    assert [event["done"] for event in events if event["kind"] == "progress"][-1] == 1408


@pytest.mark.parametrize(
    "name", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mixtral", "gpt_oss"))]
)
def test_a_model_in_several_files_is_read_a_layer_at_a_time_and_says_the_same(
    name: str, sources: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    model, source = sources(name)
    files = {"one": model, "several": in_files(model, tmp_path / "model")}
    contexts = [context_of(folder, source, tmp_path / name) for name, folder in files.items()]
    for context in contexts:
        compute_importance(context, GgufFile.open(source))
    one, several = ((context.out / FILE).read_bytes() for context in contexts)
    assert one == several
    by_layers = load_by_layers(files["several"], tmp_path / "scratch")
    importance_of(by_layers, GgufFile.open(source), rows_of(model)[:1])
    held = [name for name, parameter in by_layers.named_parameters() if parameter.device.type != "meta"]
    assert not [name for name in held if ".layers." in name]


def test_a_request_to_stop_is_heard_after_each_row(sources: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    model, source = sources("llama")
    with pytest.raises(Interrupted):
        compute_importance(context_of(model, source, tmp_path, stopping=lambda: True), GgufFile.open(source))


def test_a_model_whose_columns_lie_otherwise_is_refused(
    sources: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """As if the converter had put the columns of one matrix in another order."""
    import torch

    model, source = sources("llama")
    loaded = load_model(model)
    weight = loaded.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        weight.copy_(weight.flip(1))
    with pytest.raises(QuantizeError, match=r"columns of blk\.1\.ffn_down\.weight do not lie as in the model"):
        importance_of(loaded, GgufFile.open(source), [[1, 2, 3]])


def test_a_file_reads_back_as_it_was_written_and_an_expert_that_read_nothing_weighs_one(tmp_path: Path) -> None:
    from variantforge.stages.quantize.imatrix import Imatrix

    one = Entry(np.array([[2, 4, 6]], np.float32), np.array([2], np.float32))
    experts = Entry(np.array([[3, 6, 9], [0, 0, 0]], np.float32), np.array([3, 0], np.float32))
    write_imatrix(tmp_path / FILE, Imatrix({"b": experts, "a": one}, ("x", "y"), 7))
    read = read_imatrix(tmp_path / FILE)
    assert (read.datasets, read.chunks, list(read.entries)) == (("x", "y"), 7, ["a", "b"])
    assert read.entries["a"].weights().tolist() == [[1, 2, 3]]
    assert read.entries["b"].weights().tolist() == [[1, 2, 3], [1, 1, 1]]


@pytest.mark.parametrize(
    ("sums", "counts", "why"),
    [([[np.nan, 1]], [1], "not finite"), ([[1, 1]], [np.inf], "not finite")],
    ids=["a sum", "a count"],
)
def test_values_that_are_not_finite_are_refused(
    sums: list[list[float]], counts: list[float], why: str, tmp_path: Path
) -> None:
    from variantforge.stages.quantize.imatrix import Imatrix

    entry = Entry(np.array(sums, np.float32), np.array(counts, np.float32))
    write_imatrix(tmp_path / FILE, Imatrix({"a": entry}, (), 1))
    with pytest.raises(QuantizeError, match=why):
        read_imatrix(tmp_path / FILE)


def test_another_file_is_no_importance_matrix(sources: Callable[[str], tuple[Path, Path]]) -> None:
    with pytest.raises(QuantizeError, match="no importance matrix"):
        read_imatrix(sources("llama")[1])
