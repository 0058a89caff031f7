"""Checkpoints that can be trusted: whole or absent, proven by digests, and without pickle.

    checkpoints/checkpoint-40/
        weights.safetensors     what is trained, by parameter name
        state.safetensors       tensors of optimizer, scheduler, scaler and random generators
        state.json              everything else of those, with a reference where a tensor was
        trainer_state.json      step, epoch and the log so far (transformers' own file)
        manifest.json           digests of the four, written last

A folder is built beside its place and renamed into it. What does not match its manifest is never read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from variantforge.fsops import make_folder, move_in, remove_tree, sweep_temps, temp_sibling, write_json, write_text
from variantforge.hashing import file_digest

WEIGHTS, STATE_TENSORS, STATE = "weights.safetensors", "state.safetensors", "state.json"
TRAINER_STATE, MANIFEST = "trainer_state.json", "manifest.json"
_FORM = 1


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"


def write_checkpoint(
    place: Path, weights: Mapping[str, Any], state: Any, write_trainer_state: Callable[[Path], None]
) -> None:
    """``weights``: name -> tensor. ``state``: a tree of dicts, lists, tuples, numbers, strings and tensors."""
    from safetensors.torch import save_file

    make_folder(place.parent)
    building = make_folder(temp_sibling(place))
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, building / WEIGHTS)
    tensors: dict[str, Any] = {}
    tree = _flatten(state, tensors)
    save_file(tensors, building / STATE_TENSORS)
    write_text(building / STATE, json.dumps(tree))
    write_trainer_state(building / TRAINER_STATE)
    write_json(building / MANIFEST, {"form": _FORM, "files": _digests(building)})
    move_in(building, place)


def read_state(place: Path) -> Any:
    """The ``state`` tree that was written, tensors on the CPU."""
    from safetensors.torch import load_file

    return _unflatten(json.loads((place / STATE).read_text()), load_file(place / STATE_TENSORS))


def read_weights(place: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(place / WEIGHTS))


def newest_valid(folder: Path, note: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose bytes are the ones written. Damaged ones are removed, each with a note."""
    sweep_temps(folder)
    for place in reversed(_in_order(folder)):
        if flaw := _flaw(place):
            note(f"{place.name} cannot be used ({flaw}); going back to the one before it")
            remove_tree(place)
        else:
            return place
    return None


def rotate(folder: Path, keep: int) -> None:
    """Removes all but the newest ``keep`` checkpoints."""
    for place in _in_order(folder)[:-keep]:
        remove_tree(place)


def _in_order(folder: Path) -> list[Path]:
    found = [place for place in folder.glob("checkpoint-*") if place.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda place: int(place.name.removeprefix("checkpoint-")))


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def _flaw(place: Path) -> str:
    try:
        manifest = json.loads((place / MANIFEST).read_text())
        if manifest["form"] != _FORM:
            return "written by another version"
        found = _digests(place)
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest is missing or damaged"
    wrong = sorted(name for name in manifest["files"] | found if manifest["files"].get(name) != found.get(name))
    return f"{wrong[0]} is not what was written" if wrong else ""


# --- trees of state <-> JSON and tensors ------------------------------------------------------------------------


def _flatten(value: Any, tensors: dict[str, Any]) -> Any:
    """JSON for any tree that state_dict() gives. Kinds that JSON lacks are written as ``{"is": kind, "of": …}``."""
    import numpy
    import torch

    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"is": "tensor", "of": name}
    if isinstance(value, numpy.ndarray):
        return {"is": "array", "of": [str(value.dtype), value.tolist()]}
    if isinstance(value, Mapping):
        return {"is": "dict", "of": [[_flatten(key, tensors), _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"is": "tuple", "of": [_flatten(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_flatten(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be written into a checkpoint without pickle")


def _unflatten(value: Any, tensors: Mapping[str, Any]) -> Any:
    import numpy

    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind, content = value["is"], value["of"]
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return numpy.array(content[1], dtype=content[0])
    if kind == "tuple":
        return tuple(_unflatten(item, tensors) for item in content)
    return {_unflatten(key, tensors): _unflatten(item, tensors) for key, item in content}


# --- random generators ------------------------------------------------------------------------------------------


def random_states() -> dict[str, Any]:
    """Python's, numpy's, torch's and, where there is one, the accelerator's generator."""
    import random

    import numpy
    import torch

    states = {"python": random.getstate(), "numpy": numpy.random.get_state(), "torch": torch.get_rng_state()}
    if torch.accelerator.is_available():
        states["accelerator"] = torch.get_device_module().get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    import random

    import numpy
    import torch

    random.setstate(states["python"])
    numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "accelerator" in states:
        torch.get_device_module().set_rng_state(states["accelerator"])
