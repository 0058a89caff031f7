from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from variantforge.fsops import temp_sibling
from variantforge.stages.train.checkpoints import (
    checkpoint_path,
    newest_valid,
    random_states,
    read_state,
    read_weights,
    restore_random_states,
    rotate,
    write_checkpoint,
)


def write(folder: Path, step: int, state: Any = None) -> Path:
    import torch

    place = checkpoint_path(folder, step)
    write_checkpoint(place, {"w": torch.full((3,), float(step))}, state, lambda path: path.write_text("{}"))
    return place


def test_any_tree_of_state_comes_back_as_it_was(tmp_path: Path) -> None:
    import numpy
    import torch

    state = {
        "state": {
            0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3), "codes": torch.arange(4).to(torch.uint8)}
        },
        "param_groups": [{"lr": 1e-4 / 3, "betas": (0.9, 0.999), "params": [0, 1], "fused": None, "eps": math.inf}],
        "numpy": numpy.arange(5, dtype=numpy.uint32),
        "name": "é",
        (1, "two"): True,
    }
    found = read_state(write(tmp_path, 1, state))
    assert found.keys() == state.keys()
    assert found["param_groups"] == state["param_groups"]
    assert isinstance(found["param_groups"][0]["betas"], tuple)
    assert all(torch.equal(found["state"][0][name], tensor) for name, tensor in state["state"][0].items())
    assert found["numpy"].dtype == numpy.uint32
    assert (found["numpy"] == state["numpy"]).all()
    assert found["name"] == "é"


def test_what_only_pickle_could_hold_is_refused_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="without pickle"):
        write(tmp_path, 1, {"hook": print})
    assert newest_valid(tmp_path, lambda text: None) is None


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    import numpy
    import torch

    def draw() -> tuple[float, float, float]:
        return random.random(), float(numpy.random.rand()), float(torch.rand(()))

    draw()
    place = write(tmp_path, 1, random_states())
    first = draw()
    draw()
    restore_random_states(read_state(place))
    assert draw() == first


def test_the_newest_is_found_by_number_and_only_the_last_are_kept(tmp_path: Path) -> None:
    for step in (8, 9, 10, 100):
        write(tmp_path, step)
    rotate(tmp_path, keep=2)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-100"]
    newest = newest_valid(tmp_path, lambda text: None)
    assert newest is not None
    assert newest.name == "checkpoint-100"
    assert read_weights(newest)["w"].tolist() == [100.0] * 3


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest", "extra", "form"])
def test_damage_of_any_kind_is_seen(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1)
    place = write(tmp_path, 2)
    weights, manifest = place / "weights.safetensors", place / "manifest.json"
    match damage:
        case "flip":
            weights.write_bytes(weights.read_bytes()[:-1] + b"!")
        case "truncate":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "remove":
            weights.unlink()
        case "manifest":
            manifest.write_text(manifest.read_text()[:20])
        case "extra":
            (place / "scheduler.pt").write_bytes(b"x")
        case "form":
            manifest.write_text(manifest.read_text().replace('"form": 1', '"form": 2'))
    notes: list[str] = []
    newest = newest_valid(tmp_path, notes.append)
    assert newest is not None
    assert newest.name == "checkpoint-1"
    assert len(notes) == 1
    assert not place.exists()


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path) -> None:
    place = write(tmp_path, 1)
    half = temp_sibling(checkpoint_path(tmp_path, 2))
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert newest_valid(tmp_path, lambda text: None) == place
    assert not half.exists()
