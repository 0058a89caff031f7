"""Which tensors a model folder holds: a merged model has exactly its base's."""

from __future__ import annotations

from pathlib import Path

from variantforge.errors import MergeError


def inventory(folder: Path) -> dict[str, tuple[list[int], str]]:
    """Tensor name -> shape and type, from the headers of the folder's files."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                found[name] = (list(part.get_shape()), str(part.get_dtype()))
    return found


def require_same_inventory(base: Path, merged: Path) -> int:
    """Raises MergeError unless both hold the same tensors (a tied head stays tied); returns how many."""
    wanted, found = inventory(base), inventory(merged)
    differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise MergeError(
            f"{len(differing)} tensors of the merged model are not as in the base, {name} for one",
            why=f"In the base: {wanted.get(name, 'absent')}; merged: {found.get(name, 'absent')}.",
        )
    return len(found)
