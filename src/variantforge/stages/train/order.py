"""The order of training rows: a pure function of seed and epoch, so that a resumed run meets the same batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any

from variantforge.stages.train.processes import ranks
from variantforge.step import StepContext


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


class InOrder:
    """Of a Trainer: the order is that of one process, whatever the count of processes. A part of ``Careful``."""

    args: Any
    state: Any
    train_dataset: Any
    context: StepContext
    knows_processes = False  # whether the library's sampler already counts the processes, or is one of one process
    _order: EpochOrder
    _filler: Any = None

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        """The order is that of one process: of the whole training set, in windows of the global batch."""
        seed, args = self.args.data_seed if self.args.data_seed is not None else self.args.seed, self.args
        steps = args.gradient_accumulation_steps
        args.gradient_accumulation_steps = steps if self.knows_processes else self._micro_batches_of_a_step
        inner = super()._get_train_sampler(train_dataset if self._filler is None else self._unfilled)  # type: ignore[misc]
        args.gradient_accumulation_steps = steps
        self._order = EpochOrder(inner, seed)
        if self._filler is not None:
            self._order = FilledOrder(inner, seed, args.per_device_train_batch_size * ranks.world())
        return self._order

    def get_train_dataloader(self) -> Any:
        """Where one process of several would have rows more than another, rows that teach nothing fill up."""
        self._filler, self._unfilled = self.filler() if ranks.world() > 1 else None, self.train_dataset
        if self._filler is None:
            return self._tell_repeated(super().get_train_dataloader())  # type: ignore[misc]
        from datasets import concatenate_datasets

        self.train_dataset = concatenate_datasets([self._unfilled, self._filler])
        try:
            return super().get_train_dataloader()  # type: ignore[misc]
        finally:
            self.train_dataset = self._unfilled

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> Any:
        self._order.set_epoch(epoch)  # a shard of a loader that goes on within an epoch does not pass it on
        return super()._run_epoch(*args, epoch=epoch, **kwargs)  # type: ignore[misc]

    def _tell_repeated(self, loader: Any) -> Any:
        """accelerate fills up with the first rows of an epoch."""
        repeated = -len(self._order) % (self.args.per_device_train_batch_size * ranks.world())
        if ranks.world() > 1 and repeated:
            self.context.note(
                f"the last step of each epoch learns its first {f'{repeated} rows' if repeated > 1 else 'row'} once "
                f"more, so that all processes have equally many: {len(self._order)} rows do not come out even"
            )
        return loader

    def filler(self) -> Any:
        """A dataset of one row like the training set's that teaches nothing; None where a method has no such row."""
        return None

    @property
    def _micro_batches_of_a_step(self) -> int:
        """Of all processes."""
        return int(self.args.gradient_accumulation_steps) * ranks.world()

    def positions_of_step(self) -> list[int]:
        """Where in the dataset the rows of the step being done stand."""
        rows_per_step = self.args.per_device_train_batch_size * self._micro_batches_of_a_step
        first = (self.state.global_step % self._steps_of_an_epoch) * rows_per_step
        return self._order.order(self._order.epoch)[first : first + rows_per_step]

    @property
    def _steps_of_an_epoch(self) -> int:
        rows, size = len(self._order.inner), self.args.per_device_train_batch_size
        batches = rows // size if self.args.dataloader_drop_last else math.ceil(rows / size)
        steps: int = math.ceil(batches / self._micro_batches_of_a_step)
        return max(1, steps)
