"""The shape of the base under a train step: from its artifact, from the folder or file it is pinned to, or from the
cache of the Hub's client. Nothing is fetched, and no tensor is loaded."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from variantforge.errors import VariantforgeError
from variantforge.plan.estimate.shape import Shape, UnknownShape, shape_of_config, shape_of_gguf
from variantforge.plan.plan import Plan
from variantforge.stages.base.files import read_json
from variantforge.stages.base.gguf_header import is_gguf, read_gguf_header
from variantforge.stages.base.look import read_inventory
from variantforge.step import Artifact, Step


class Found(Protocol):
    """What estimating needs of a store."""

    @property
    def root(self) -> Path: ...

    def find(self, step: Step) -> Artifact | None: ...


def base_step(plan: Plan, step: Step) -> Step:
    """The base step that a step rests on, through all parents (``from``). Raises UnknownShape where there is none."""
    seen = step
    while seen.stage != "base":
        key = seen.inputs.get("base")
        if key is None or key not in plan.steps:
            raise UnknownShape("it does not say which base it starts from")
        seen = plan.steps[key]
    return seen


def shape_of_base(base: Step, store: Found) -> Shape:
    """Raises UnknownShape where the base was not read yet, or says too little of itself."""
    artifact = store.find(base)
    if artifact is not None:
        return _shape_at(str(artifact.path / "model"), base.key)
    pin = base.pins.get("model")
    if pin is None:
        raise UnknownShape("its base is not pinned")
    if pin.at.startswith("hub:"):
        return _shape_at(str(_snapshot(pin.at)), pin.digest)
    return _shape_at(pin.at, pin.digest)


@lru_cache(maxsize=256)
def _shape_at(at: str, digest: str) -> Shape:
    """``digest`` makes the memory forget what has changed."""
    path = Path(at)
    try:
        if path.is_file():
            if not is_gguf(path):
                raise UnknownShape("its base is neither a folder nor a GGUF file")
            return shape_of_gguf(read_gguf_header(path))
        return shape_of_config(read_json(path / "config.json"), _tensors(path))
    except FileNotFoundError:
        raise UnknownShape("the base was not read yet: unknown until it is") from None
    except (VariantforgeError, OSError) as error:
        raise UnknownShape(f"the base cannot be read: {error}".splitlines()[0]) from error


def _tensors(folder: Path) -> dict[str, tuple[int, ...]] | None:
    """From the headers of the weights, where they are there."""
    try:
        return {name: info.shape for name, info in read_inventory(folder).items()}
    except (VariantforgeError, OSError):
        return None


def _snapshot(at: str) -> Path:
    """Where the Hub's client keeps ``hub:org/name@commit`` once it was fetched (huggingface_hub, guides/manage-cache).

    Raises UnknownShape when it was not.
    """
    name, _, commit = at.removeprefix("hub:").partition("@")
    folder = _cache() / f"models--{name.replace('/', '--')}" / "snapshots" / commit
    if not (folder / "config.json").is_file():
        raise UnknownShape("the base was not fetched from the Hub yet: unknown until it was read")
    return folder


def _cache() -> Path:
    if stated := os.environ.get("HF_HUB_CACHE"):
        return Path(stated).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"
