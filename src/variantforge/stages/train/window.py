"""Which part of a row a variant's training reads, known from the family file alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

from variantforge.spec.family import TrainSpec
from variantforge.stages.train import METHODS
from variantforge.stages.train.config import effective_args
from variantforge.stages.train.sft import window

_TRL = {"packing": False, "packing_strategy": "bfd", "truncation_mode": "keep_start", "max_length": None}


class Reach(NamedTuple):
    """``max_length`` in tokens, None where rows are not cut; ``window``: the slice of a row that is read."""

    max_length: int | None
    window: slice


def reach_of(train: TrainSpec) -> Reach:
    """As TRL's arguments and the method's defaults say."""
    args = effective_args(train.adapter, train.args, METHODS.load(train.method).defaults)
    config = SimpleNamespace(**{name: args.get(name, default) for name, default in _TRL.items()})
    part = window(config)
    return Reach(None if part == slice(None) else config.max_length, part)
