from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.stages.quantize.conftest import artifact
from variantforge.errors import QuantizeError
from variantforge.stages.quantize.calibration import calibration_rows, in_shares, write_calibration
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.rows import make_row, write_rows
from variantforge.step import Artifact, StepContext


def chats(folder: Path, count: int, word: str) -> Artifact:
    """A data artifact with ``count`` chats that say ``word``, one of them twice."""
    made = artifact(folder)
    rows = []
    for n in range(count):
        turns = [("user", f"{word} {n}?"), ("assistant", f"It is {word} number {n}, " + "and so on " * n)]
        messages = [{"role": role, "content": content} for role, content in turns]
        rows.append(make_row(word, {"messages": messages}))
    write_rows(made.path / "train.jsonl", [*rows, rows[0]])
    return made


def calibrated(root: Path, inputs: dict[str, Artifact], **spec: object) -> tuple[list[list[int]], list[str]]:
    """The rows that the step chose, and its notes."""
    step = quantize_step("calibration", "", {role: one.key for role, one in inputs.items()}, calibration=spec)
    notes: list[str] = []
    told = lambda event: notes.append(event["text"]) if event["kind"] == "note" else None  # noqa: E731
    out = artifact(root / "calibration")
    write_calibration(StepContext(step, inputs, out.path, root, emit=told))
    return list(calibration_rows(StepContext(step, {"calibration": out}, root, root))), notes


@pytest.fixture
def merged(tiny_llama: Path, tmp_path: Path) -> Artifact:
    return artifact(tmp_path / "merged", model=tiny_llama, facts={"stop_token_ids": [2]})


@cache
def tokenizer_of(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def text_of(model: Path, ids: list[int]) -> str:
    return str(tokenizer_of(model).decode(ids))


def test_rows_are_written_by_the_models_own_template_each_once(
    merged: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    rows, notes = calibrated(tmp_path, {"model": merged, "data": chats(tmp_path / "mix", 9, "blue")})
    assert len(rows) == 9
    assert all("<|im_start|>assistant\nIt is blue number" in text_of(tiny_llama, ids) for ids in rows)
    assert notes == [
        f"calibrates with {sum(map(len, rows))} tokens: the datasets hold no more (131,072 were asked for)"
    ]


def test_the_last_row_is_cut_at_the_number_of_tokens_and_long_rows_at_theirs(merged: Artifact, tmp_path: Path) -> None:
    rows, notes = calibrated(
        tmp_path, {"model": merged, "data": chats(tmp_path / "mix", 60, "blue")}, tokens=512, max_length=40
    )
    assert sum(map(len, rows)) == 512
    assert max(map(len, rows)) == 40
    assert notes == []


def test_another_seed_chooses_other_rows_and_the_same_seed_the_same(merged: Artifact, tmp_path: Path) -> None:
    inputs = {"model": merged, "data": chats(tmp_path / "mix", 40, "blue")}
    first, again, other = (
        calibrated(tmp_path / str(place), inputs, tokens=512, seed=seed)[0] for place, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert {*map(tuple, first)} != {*map(tuple, other)}


def test_shares_of_datasets_are_kept_in_tokens(merged: Artifact, tiny_llama: Path, tmp_path: Path) -> None:
    inputs = {
        "model": merged,
        "dataset:a": chats(tmp_path / "a", 60, "red"),
        "dataset:b": chats(tmp_path / "b", 60, "green"),
    }
    rows, _ = calibrated(tmp_path, inputs, datasets={"a": 3.0, "b": 1.0}, tokens=2000, max_length=60)
    red = sum(len(ids) for ids in rows if "red" in text_of(tiny_llama, ids))
    assert abs(red / 2000 - 0.75) < 0.04


def test_a_source_that_runs_out_leaves_its_share_to_the_others() -> None:
    rows = in_shares({"a": iter([[1, 1]]), "b": iter([[2, 2, 2]] * 4)}, {"a": 1.0, "b": 1.0}, 10)
    assert list(rows) == [[1, 1], [2, 2, 2], [2, 2, 2], [2, 2]]


def test_next_to_no_text_is_an_error_that_says_what_to_name(merged: Artifact, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="tokens to calibrate with") as told:
        calibrated(tmp_path, {"model": merged, "data": chats(tmp_path / "mix", 1, "blue")})
    assert "calibration.datasets" in told.value.next


def test_prompts_and_texts_are_read_too_and_bad_answers_are_not(
    merged: Artifact, tiny_llama: Path, tmp_path: Path
) -> None:
    prompt = [{"role": "user", "content": "Say something. " * 30}]
    answer = [{"role": "assistant", "content": "It is orange. " * 30}]
    mix = artifact(tmp_path / "mix")
    rows = [
        make_row("one", {"prompt": prompt}),
        make_row("two", {"text": "Plain words. " * 30}),
        make_row("three", {"prompt": prompt, "completion": answer, "label": False}),
    ]
    write_rows(mix.path / "train.jsonl", rows)
    read, _ = calibrated(tmp_path, {"model": merged, "data": mix})
    texts = sorted(text_of(tiny_llama, ids)[:12] for ids in read)
    assert texts == ["<|im_start|>", "Plain words."]
    assert not any("orange" in text_of(tiny_llama, ids) for ids in read)
