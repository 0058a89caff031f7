"""Measured on real, tiny models: the same tokens for all, the right figures, and no figure where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.evaluate.conftest import ROWS
from tests.stages.evaluate.subjects import altered, artifact, chats, data_artifact, model_artifact
from variantforge.errors import EvaluateError, Interrupted
from variantforge.hashing import file_digest
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.stage import STAGE
from variantforge.stages.rows import make_row
from variantforge.step import Artifact, Step

pytestmark = pytest.mark.filterwarnings(
    # bitsandbytes and what it imports say these once at import, on machines without a GPU
    "ignore::DeprecationWarning:bitsandbytes",
    "ignore::FutureWarning:bitsandbytes",
)


def measure(
    root: Path, model: Artifact, data: Artifact, reference: Artifact | None = None, *, run: str = "run", **params: Any
) -> Artifact:
    """One evaluation; keyword arguments that are no parameters go to the step's context."""
    context = {name: params.pop(name) for name in ("emit", "stopping") if name in params}
    inputs = {"model": model, "data": data, **({"reference": reference} if reference else {})}
    step = Step("evaluate", 1, "perplexity", params, {role: one.key for role, one in inputs.items()})
    return do_step(STAGE, step, root / run, inputs, **context)


def value(measured: Artifact, metric: str) -> float:
    return float(measured.facts["metrics"][metric]["value"])


def test_all_subjects_are_measured_on_the_same_tokens(
    tmp_path: Path, base: Artifact, merged: Artifact, nf4: Artifact, gguf: Artifact, data: Artifact
):
    every = [
        measure(tmp_path, base, data),
        measure(tmp_path, merged, data),
        measure(tmp_path, nf4, data, merged),
        measure(tmp_path, gguf, data, merged),
    ]
    assert len({one.facts["tokens_sha256"] for one in every}) == 1
    assert {one.facts["examples"] for one in every} == {ROWS}
    assert {tuple(row["id"] for row in read_examples(one)) for one in every} == {
        tuple(row["id"] for row in chats(ROWS))
    }
    assert [sorted(one.facts["metrics"]) for one in every] == [
        ["loss", "perplexity"],
        ["loss", "perplexity"],
        ["kl", "loss", "perplexity", "same_top"],
        ["kl", "loss", "perplexity", "runtime_gap", "same_top"],
    ]
    assert value(every[3], "kl") < value(every[2], "kl") < 1  # 8 bits keep more than 4


def test_the_loss_is_what_transformers_says_for_the_answers_tokens(tmp_path: Path, base: Artifact, data: Artifact):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    row = chats(ROWS)[3]
    tokenizer = AutoTokenizer.from_pretrained(base.path / "model")
    whole = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    prompt = tokenizer.apply_chat_template(row["messages"][:1], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(whole, return_tensors="pt").input_ids
    start = len(tokenizer(prompt).input_ids)
    end = ids[0].tolist().index(tokenizer.eos_token_id, start) + 1
    labels = torch.full_like(ids, -100)
    labels[0, start:end] = ids[0, start:end]
    model = AutoModelForCausalLM.from_pretrained(base.path / "model", dtype=torch.float32)
    with torch.no_grad():
        expected = float(model(ids, labels=labels).loss)
    ours = next(line for line in read_examples(measure(tmp_path, base, data)) if line["id"] == row["id"])
    assert ours["tokens"] == end - start
    assert ours["nll"] / ours["tokens"] == pytest.approx(expected, rel=1e-5)


def test_the_metrics_file_says_what_the_facts_say_and_a_second_run_writes_the_same_bytes(
    tmp_path: Path, nf4: Artifact, merged: Artifact, data: Artifact
):
    once, twice = (measure(tmp_path, nf4, data, merged, run=run) for run in ("once", "twice"))
    assert json.loads((once.path / "metrics.json").read_text()) == once.facts["metrics"]
    loss = once.facts["metrics"]["loss"]
    assert set(loss) == {"value", "low", "high", "n", "better"}
    assert loss["low"] < loss["value"] < loss["high"]
    for name in ("metrics.json", "examples.jsonl", "facts.json"):
        assert (once.path / name).read_bytes() == (twice.path / name).read_bytes()


def test_the_merged_model_beside_itself_has_no_divergence(tmp_path: Path, merged: Artifact, data: Artifact):
    measured = measure(tmp_path, merged, data, merged)
    assert value(measured, "kl") == 0.0
    assert value(measured, "same_top") == 1.0


def test_a_row_that_breaks_the_model_fails_the_step_by_its_name_and_nothing_is_scored(tmp_path: Path, tiny_qwen3: Path):
    from transformers import AutoTokenizer

    whole = model_artifact(tmp_path, "whole", tiny_qwen3)  # untied: what is read is not what is written
    row = make_row(
        "odd", {"messages": [{"role": "user", "content": "Zebra?"}, {"role": "assistant", "content": "Yes."}]}
    )
    (token,) = set(AutoTokenizer.from_pretrained(tiny_qwen3)("Zebra")["input_ids"][:1])

    def plant(state: dict[str, Any]) -> None:
        state["model.embed_tokens.weight"][token] = float("nan")

    broken = altered(whole, tmp_path, "broken", plant)
    rows = data_artifact(tmp_path, [*chats(5), row], "rows")
    with pytest.raises(EvaluateError, match=rf"row {row['id']} \(dataset 'odd'\) is not a finite number"):
        measure(tmp_path, broken, rows)
    assert not list((tmp_path / "run").rglob("*.json*"))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, base: Artifact, data: Artifact):
    def cut(state: dict[str, Any]) -> None:
        state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][:500].clone()

    small = altered(base, tmp_path, "small", cut)
    config = small.path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 500}))
    with pytest.raises(EvaluateError, match="the model knows 500 tokens only"):
        measure(tmp_path, small, data)


def test_a_model_that_cannot_be_loaded_is_a_failed_step(tmp_path: Path, base: Artifact, data: Artifact):
    torn = model_artifact(tmp_path, "torn", base.path / "model")
    weights = torn.path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(Exception, match="cannot be loaded"):
        measure(tmp_path, torn, data)
    assert not list((tmp_path / "run").rglob("metrics.json"))


def test_without_held_out_rows_nothing_is_measured(tmp_path: Path, base: Artifact):
    with pytest.raises(EvaluateError, match="not one held-out token") as caught:
        measure(tmp_path, base, data_artifact(tmp_path, [], "none"))
    assert "fraction" in caught.value.next


def test_the_rows_with_the_lowest_hash_are_measured_in_the_order_of_the_file(tmp_path: Path, base: Artifact):
    rows = chats(10)
    measured = measure(tmp_path, base, data_artifact(tmp_path, rows, "ten"), max_examples=4)
    lowest = sorted(row["id"] for row in rows)[:4]
    assert [line["id"] for line in read_examples(measured)] == [row["id"] for row in rows if row["id"] in lowest]


def test_what_is_cut_or_left_out_is_told(tmp_path: Path, base: Artifact):
    long = make_row(
        "talk", {"messages": [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "x"}]}
    )
    notes: list[str] = []
    measured = measure(
        tmp_path,
        base,
        data_artifact(tmp_path, [*chats(10), long], "long"),
        max_length=40,
        emit=lambda event: notes.append(event["text"]) if event["kind"] == "note" else None,
    )
    assert long["id"] not in [line["id"] for line in read_examples(measured)]
    assert measured.facts["shortened"] > 1
    assert any("longer than 40 tokens" in note for note in notes)
    assert any(note == "1 held-out rows have no answer to measure; they were left out" for note in notes)


def test_plain_text_is_measured_from_its_second_token_to_its_end(tmp_path: Path, base: Artifact):
    from transformers import AutoTokenizer

    texts = [make_row("text", {"text": f"The number {number} is even."}) for number in range(0, 20, 2)]
    measured = measure(tmp_path, base, data_artifact(tmp_path, texts, "texts"))
    tokens = AutoTokenizer.from_pretrained(base.path / "model")(texts[0]["text"])["input_ids"]
    assert read_examples(measured)[0]["tokens"] == len(tokens)  # without the first, with the end


def test_a_stop_is_heeded_between_batches(tmp_path: Path, base: Artifact, data: Artifact):
    with pytest.raises(Interrupted):
        measure(tmp_path, base, data, stopping=lambda: True)


# --- GGUF -------------------------------------------------------------------------------------------------------


def copied(gguf: Artifact, root: Path, name: str) -> tuple[Artifact, Path]:
    made = artifact(root, name)
    return made, Path(shutil.copy(gguf.path / "model.gguf", made.path / "model.gguf"))


def test_one_damaged_block_of_a_gguf_shows_in_its_divergence(
    tmp_path: Path, gguf: Artifact, merged: Artifact, data: Artifact
):
    from variantforge.stages.quantize.gguf_file import GgufFile

    whole = measure(tmp_path, gguf, data, merged, run="whole", runtime_positions=0)
    damaged, path = copied(gguf, tmp_path, "damaged")
    content = bytearray(path.read_bytes())
    block = GgufFile.open(path).data("blk.0.ffn_down.weight").reshape(-1)[:34].tobytes()  # Q8_0: a scale, 32 weights
    at = content.index(block)
    content[at : at + 2] = b"\x00\x70"  # the scale becomes 8192
    path.write_bytes(content)
    broken = measure(tmp_path, damaged, data, merged, run="damaged", runtime_positions=0)
    assert value(whole, "kl") < 0.01
    assert value(broken, "kl") > 100 * value(whole, "kl")


def test_a_gguf_that_llama_cpp_runs_with_other_rotations_is_refused(
    tmp_path: Path, gguf: Artifact, merged: Artifact, data: Artifact
):
    import struct

    wrong, path = copied(gguf, tmp_path, "wrong")
    content = bytearray(path.read_bytes())
    name = b"llama.rope.freq_base"
    at = content.index(name) + len(name) + 4  # after the kind of the value
    content[at : at + 4] = struct.pack("<f", 10.0)
    path.write_bytes(content)
    with pytest.raises(EvaluateError, match=r"model\.gguf does not run in llama\.cpp as its weights say"):
        measure(tmp_path, wrong, data, merged)


def test_the_run_is_left_out_on_request(tmp_path: Path, gguf: Artifact, merged: Artifact, data: Artifact):
    measured = measure(tmp_path, gguf, data, merged, runtime_positions=0)
    assert "runtime_gap" not in measured.facts["metrics"]
    assert all("gap" not in line for line in read_examples(measured))


@pytest.mark.slow
def test_real_weights_keep_their_answers_in_eight_bits_and_lose_some_in_four(tmp_path: Path):
    """SmolLM2-135M: figures that are known for it, with room for other machines."""
    from tests.stages.evaluate.subjects import gguf_artifact
    from tests.tiny import smollm2_gguf
    from variantforge.stages.base.stage import STAGE as BASE
    from variantforge.step import Pin

    file = smollm2_gguf()
    pin = Pin(file_digest(file), str(file))
    merged = do_step(BASE, Step("base", 1, "gguf", pins={"model": pin}), tmp_path)
    rows = data_artifact(tmp_path, explained_functions(16))
    done = {"merged": measure(tmp_path, merged, rows, max_length=512)}
    for format in ("Q8_0", "Q4_K_M"):
        made = gguf_artifact(tmp_path, format, merged, format)
        done[format] = measure(tmp_path, made, rows, merged, max_length=512)
    assert 0.5 < value(done["merged"], "loss") < 3.0
    assert value(done["Q8_0"], "kl") < 0.005 < value(done["Q4_K_M"], "kl") < 0.15
    assert abs(value(done["Q8_0"], "loss") - value(done["merged"], "loss")) < 0.02
    assert all(0.01 < value(done[format], "runtime_gap") < 0.25 for format in ("Q8_0", "Q4_K_M"))


def explained_functions(count: int) -> list[dict[str, Any]]:
    """Rows like a user's: functions of the standard library, and what their docstrings say of them."""
    import ast
    import inspect
    import urllib.request

    source = inspect.getsource(urllib.request)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    explained = [(ast.get_source_segment(source, node), ast.get_docstring(node)) for node in functions]
    rows = [
        make_row("functions", {"messages": [{"role": "user", "content": code}, {"role": "assistant", "content": says}]})
        for code, says in explained
        if says and code and len(code) < 1500
    ]
    return rows[:count]
