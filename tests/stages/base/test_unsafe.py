from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import UnsafeFile
from variantforge.stages.base.unsafe import refuse_code, refuse_unsafe, unsafe_content


class Evil:
    """Unpickling one of these would call print."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def zipped(name: str, raw: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(name, raw)
    return memory.getvalue()


def tarred(raw: bytes) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        member = tarfile.TarInfo("data.pkl")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return memory.getvalue()


def torch_saved(legacy: bool) -> bytes:
    import torch

    memory = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, memory, _use_new_zipfile_serialization=not legacy)
    return memory.getvalue()


def numpy_objects() -> bytes:
    import numpy as np

    memory = io.BytesIO()
    np.save(memory, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return memory.getvalue()


PICKLES: dict[str, Any] = {
    **{f"pickle protocol {protocol}": (lambda p=protocol: pickle.dumps(Evil(), p)) for protocol in range(6)},
    **{f"state dict, protocol {protocol}": (lambda p=protocol: pickle.dumps({"a": [1]}, p)) for protocol in range(6)},
    "list, protocol 0": lambda: pickle.dumps([1, "b"], 0),
    "list, protocol 1": lambda: pickle.dumps([1, "b"], 1),
    "global, by hand": lambda: b"cos\nsystem\n(S'id'\ntR.",
    "instance, by hand": lambda: b"(S'id'\nios\nsystem\n.",
    "torch.save": lambda: torch_saved(False),
    "torch.save of old": lambda: torch_saved(True),
    "npy of objects": numpy_objects,
    "zip": lambda: zipped("archive/data.pkl", pickle.dumps(Evil())),
    "keras": lambda: zipped("config.json", b"{}"),
    "empty zip": lambda: b"PK\x05\x06" + bytes(18),
    "7z": lambda: b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "rar": lambda: b"Rar!\x1a\x07\x01\x00" + bytes(40),
    "tar": lambda: tarred(pickle.dumps(Evil())),
    "gzip": lambda: gzip.compress(pickle.dumps(Evil())),
    "bzip2": lambda: bz2.compress(pickle.dumps(Evil())),
    "xz": lambda: lzma.compress(pickle.dumps(Evil())),
    "zlib": lambda: zlib.compress(pickle.dumps(Evil())),
    "zstd": lambda: b"\x28\xb5\x2f\xfd" + bytes(40),
    "lz4": lambda: b"\x04\x22\x4d\x18" + bytes(40),
    "hdf5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(40),
    "program": lambda: b"\x7fELF" + bytes(40),
}


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "weights", "tokenizer.json"])
@pytest.mark.parametrize("kind", PICKLES)
def test_what_can_run_code_is_refused_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PICKLES[kind]())
    with pytest.raises(UnsafeFile) as caught:
        refuse_unsafe(path)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".keras", ".npz", ".PT"])
def test_a_name_that_claims_to_be_unsafe_is_believed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"nothing known")
    with pytest.raises(UnsafeFile, match=r"\.(?i:bin|pt|pth|pkl|ckpt|h5|keras|npz)"):
        refuse_unsafe(path)


def test_safe_files_pass(small: Path) -> None:
    for path in small.iterdir():
        refuse_unsafe(path)
        assert unsafe_content(path) == ""


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
        {"auto_map": {"AutoConfig": "other/repo--configuration_x.X"}},
        {"custom_pipelines": {"x": {"impl": "x.X"}}},
        {"trust_remote_code": True},
    ],
)
def test_a_config_that_asks_for_its_own_code_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UnsafeFile, match="code that comes with the model"):
        refuse_code(config, "config.json")


def test_an_empty_auto_map_asks_for_nothing() -> None:
    refuse_code({"auto_map": {}, "model_type": "llama"}, "config.json")
