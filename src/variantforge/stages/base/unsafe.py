"""Files that can run code when they are loaded: recognised by their first bytes, whatever their name says.

This is not a scanner that finds the harmless ones among them: none of them is ever opened.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from variantforge.errors import UnsafeFile

_MAGIC = (
    (b"PK\x03\x04", "a zip archive (torch.save, Keras and joblib write such files)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"\xfd7zXZ\x00", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"\x04\x22\x4d\x18", "lz4-compressed"),
    (b"\x78\x9c", "zlib-compressed (joblib writes such files)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file, which may hold pickled objects"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
)
_SUFFIXES = (
    *(".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".hdf5", ".keras", ".npy", ".npz", ".joblib", ".dill"),
    *(".cloudpickle", ".nemo", ".mar", ".pb", ".tflite", ".onnx", ".msgpack", ".model"),
    *(".zip", ".7z", ".rar", ".tar", ".gz", ".xz", ".zst", ".bz2"),
)
_OLD_PICKLE = re.compile(rb"\([ldictVSIKUX(]|[\]}][q(]|[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_TAR_MAGIC_AT = 257
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


def unsafe_content(path: Path) -> str:
    """What a file is by its bytes when it is of a kind that can run code, else ''."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle"
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "a tar archive"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "a Python pickle" if _is_old_pickle(head) else ""


def _is_old_pickle(head: bytes) -> bool:
    """Pickles of protocol 0 and 1 have no magic: they begin with a mark or an empty container and an opcode, or
    import a name as text."""
    return _OLD_PICKLE.match(head) is not None


def refuse_unsafe(path: Path) -> None:
    """Raises UnsafeFile when the file is, or by its name claims to be, of a kind that can run code."""
    kind = unsafe_content(path)
    if not kind and path.suffix.lower() in _SUFFIXES and path.name != "tokenizer.model":
        kind = f"of the kind '{path.suffix}'"
    if kind:
        raise UnsafeFile(
            f"{path.name} is {kind}",
            why="Such a file can run code when it is loaded; it is not opened here.",
            next="use safetensors weights, or a GGUF file",
        )


def refuse_code(config: dict[str, Any], name: str) -> None:
    """Raises UnsafeFile when a configuration asks for Python code of its own."""
    for key in _CODE_KEYS:
        if config.get(key):
            raise UnsafeFile(
                f"{name} asks for code that comes with the model ({key})",
                why="Code from a model repository is never run.",
                next=f"if transformers knows this model_type itself, use a copy of the folder without '{key}'",
            )
