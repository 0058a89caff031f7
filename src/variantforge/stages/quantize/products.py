"""Products of activations and a model's matrices, heard as torch computes them, and summed for the tensors of a GGUF
file that those matrices became.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import Tensor
from variantforge.stages.quantize.imatrix import Entry

if TYPE_CHECKING:
    import torch

_LAYER = re.compile(r"\blayers\.(\d+)\.")
_OF_EXPERTS = {  # end of a parameter's name in transformers -> tensors of a GGUF file that read the same activations
    "experts.gate_up_proj": ("ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps"),
    "experts.down_proj": ("ffn_down_exps",),
}


class Matrices(NamedTuple):
    """A parameter of one of the model's modules, one matrix or one for each expert, and the tensors of the file that it
    became."""

    module: torch.nn.Module
    name: str
    tensors: list[Tensor]

    @property
    def weight(self) -> torch.Tensor:
        """[rows, columns], or those of each expert. Without values where its layer lies on disk and does not run."""
        return self.module.get_parameter(self.name)

    def each(self) -> torch.Tensor:
        """[matrices, rows, columns]."""
        return self.weight if self.weight.ndim > 2 else self.weight[None]


def matrices_of(model: Any, source: GgufFile) -> Iterator[Matrices]:
    """Parameters that became matrices in the layers of ``source``, by the names that llama.cpp gives them."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next((arch for arch, name in MODEL_ARCH_NAMES.items() if name == source.architecture), None)
    known = get_tensor_name_map(arch, source.shape.layers) if arch is not None else None
    for full, _ in model.named_parameters():
        told = known.get_name(full, try_suffixes=(".weight",)) if known else None
        names = _names_of_experts(full) or ([told] if told else [])
        tensors = [source.tensors[name] for name in names if name in source.tensors]
        if inside := [tensor for tensor in tensors if tensor.layer >= 0 and tensor.is_matrix]:
            module, _, name = full.rpartition(".")
            yield Matrices(model.get_submodule(module), name, inside)


def _names_of_experts(name: str) -> list[str]:
    """Names in a GGUF file of a parameter that holds matrices of all experts; [] of any other."""
    inside = _LAYER.search(name)
    parts = next((parts for end, parts in _OF_EXPERTS.items() if name.endswith(end)), ())
    return [f"blk.{inside[1]}.{part}.weight" for part in parts] if inside else []


class Sums:
    """Of x² over the tokens that one tensor of the file multiplied: [matrices, columns], and how many those were."""

    def __init__(self, matrices: int, columns: int, device: torch.device) -> None:
        import torch

        self.sums = torch.zeros(matrices, columns, device=device)
        self.counts = [0] * matrices

    def add(self, matrix: int, activations: torch.Tensor) -> None:
        rows = activations.reshape(-1, activations.shape[-1])
        self.sums[matrix] += rows.float().square().sum(0)
        self.counts[matrix] += len(rows)

    def entry(self) -> Entry:
        import numpy as np

        return Entry(self.sums.cpu().numpy(), np.array(self.counts, np.float32))


class Watch:
    """Adds to the sums of matrices whatever is multiplied with them inside ``with watch.at_work():``.

    A matrix is known by its address, which is asked for while its module runs: the weights of a layer that lies on disk
    are in memory no longer than that.
    """

    def __init__(self, matrices: Iterable[Matrices], device: torch.device) -> None:
        self.sums: dict[str, Sums] = {}
        self._of_modules: dict[torch.nn.Module, list[tuple[Matrices, list[Sums]]]] = {}
        self._running: list[_Run] = []
        for one in matrices:
            own = {tensor.name: Sums(len(one.each()), tensor.shape[0], device) for tensor in one.tensors}
            self.sums |= own
            self._of_modules.setdefault(one.module, []).append((one, list(own.values())))

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        with contextlib.ExitStack() as hooks, _hearing(self._add):
            for module in self._of_modules:
                hooks.callback(module.register_forward_pre_hook(self._begin).remove)
                hooks.callback(module.register_forward_hook(self._end).remove)
            yield

    def _begin(self, module: torch.nn.Module, args: Any) -> None:
        self._running.append(_Run(self._of_modules[module]))

    def _end(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self._running.pop()

    def _add(self, activations: torch.Tensor, matrix: torch.Tensor) -> None:
        for run in self._running:
            for sums, number in run.slots.get(matrix.data_ptr(), ()):
                sums.add(number, activations)


class _Run:
    """One forward of a module with the matrices that it holds."""

    def __init__(self, matrices: list[tuple[Matrices, list[Sums]]]) -> None:
        self._matrices = matrices

    @cached_property
    def slots(self) -> dict[int, list[tuple[Sums, int]]]:
        """Address of a matrix -> whose sums it adds to, and as which matrix. Read once the weights are in memory."""
        return {
            matrix.data_ptr(): [(each, number) for each in sums]
            for one, sums in self._matrices
            for number, matrix in enumerate(one.each())
        }


def _hearing(hear: Callable[[torch.Tensor, torch.Tensor], None]) -> Any:
    """A context that calls ``hear(activations, matrix)`` before each product of two tensors."""
    import torch
    from torch.overrides import TorchFunctionMode

    products = {torch.nn.functional.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}

    class Hearing(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in products and len(args) > 1:
                hear(args[0], args[1])
            return func(*args, **(kwargs or {}))

    return Hearing()
