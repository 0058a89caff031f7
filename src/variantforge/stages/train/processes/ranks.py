"""What processes of one training ask of each other. With one process, each answer is its own.

All that talk here must be called by every process, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def world() -> int:
    """How many processes train together."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    import torch.distributed as dist

    return dist.get_rank() if world() > 1 else 0


def here() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1


def writes() -> bool:
    """Whether this process writes files: the first of each machine, so that each machine's store gets the result."""
    return world() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def summed(values: Sequence[float]) -> list[float]:
    """Element by element, over all processes."""
    import torch
    import torch.distributed as dist

    if world() == 1:
        return list(values)
    told = torch.tensor(values, dtype=torch.float64, device=_place())
    dist.all_reduce(told)
    return [float(value) for value in told]


def anyone(flag: bool) -> bool:
    """Whether it is true for any process."""
    return summed([float(flag)])[0] > 0


def told_by_all(value: Any) -> list[Any]:
    """Every process's value, in order of rank."""
    import torch.distributed as dist

    values: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    summed([0.0])


def shard_anyway(accelerator: Any, args: Any) -> None:
    """FSDP2 on CPUs, where accelerate leaves it out without a word although torch has it."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin(**args.fsdp_plugin_args)
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # who asks anew is told by this
    accelerator.state.fsdp_plugin = plugin


def in_shards(parameter: Any) -> bool:
    """Whether this process holds but a part of it."""
    from torch.distributed.tensor import DTensor

    return isinstance(parameter, DTensor) or hasattr(parameter, "ds_id")


def whole(tensor: Any) -> Tensor | None:
    """A tensor gathered from its shards, on the CPU; None for processes that do not write."""
    from torch.distributed.tensor import DTensor

    if hasattr(tensor, "ds_id"):
        return _gathered(tensor)
    full = tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
    return full.cpu() if writes() else None


def _gathered(parameter: Any) -> Tensor | None:
    """A parameter that DeepSpeed's ZeRO 3 has partitioned."""
    import deepspeed  # type: ignore[import-not-found,unused-ignore]

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().cpu().clone() if writes() else None


def whole_tree(tree: Any) -> Any:
    """A tree as state_dict() gives it, with every tensor whole."""
    import torch

    if isinstance(tree, torch.Tensor):
        return whole(tree)
    if isinstance(tree, Mapping):
        return {name: whole_tree(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(whole_tree(value) for value in tree)
    return tree


def like(parameter: Any, tensor: Tensor) -> Tensor:
    """A whole tensor laid out as a parameter of the same shape is. Every process has it: nothing is sent."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor):
        return tensor
    there = tensor.to(parameter.device)
    return distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _place() -> Any:
    """Where tensors lie that this group's backend can send: gloo takes the CPU's, others their own device's."""
    import torch
    import torch.distributed as dist

    return torch.device("cpu") if "gloo" in str(dist.get_backend()) else torch.accelerator.current_accelerator()
