"""The order of training rows: a pure function of seed and epoch, so that a resumed run meets the same batches."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any


class EpochOrder:
    """A sampler around any of transformers' samplers, which draw from the global generator when they are iterated.

    Here they draw from a generator of their own, seeded anew for each epoch; the global one is left untouched.
    """

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner, self.seed, self.epoch = inner, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def __len__(self) -> int:
        inner: Sized = self.inner
        return len(inner)

    def order(self, epoch: int) -> list[int]:
        import torch

        if hasattr(self.inner, "set_epoch"):
            self.inner.set_epoch(epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed << 20) + epoch)
            return [int(index) for index in self.inner]


class FilledOrder(EpochOrder):
    """The same order, filled up with a row that teaches nothing, which stands behind all others, to a multiple of
    ``rows``: so that each of several processes gets equally many."""

    def __init__(self, inner: Any, seed: int, rows: int) -> None:
        super().__init__(inner, seed)
        self.fillers = -len(inner) % rows

    def __iter__(self) -> Iterator[int]:
        return iter([*self.order(self.epoch), *[len(self.inner)] * self.fillers])

    def __len__(self) -> int:
        return len(self.inner) + self.fillers
