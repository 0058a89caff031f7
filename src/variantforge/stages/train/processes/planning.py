"""What a family file says of processes, as hints of a train step, and what cannot be shared among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from variantforge.spec.family import ResourcesSpec, VariantSpec
from variantforge.stages.stage import Desk
from variantforge.stages.train.processes.share import sharing_problem

_ENGINES = ("use_vllm", "use_transformers_continuous_batching")  # that answer in place of transformers' generate
_SHARING = ("split_batches", "dispatch_batches", "even_batches")  # accelerate's: who gets which rows


def resource_hints(resources: ResourcesSpec) -> dict[str, Any]:
    """Only what is said: a step without any of it has no hints from here."""
    hints = resources.model_dump(mode="json", exclude_defaults=True)
    if resources.accelerate.fsdp is not None:
        hints["accelerate"]["fsdp"] = resources.accelerate.fsdp.config
    return hints


def tell_what_cannot_be_shared(desk: Desk, variant: VariantSpec, args: Mapping[str, Any]) -> None:
    """A problem for each thing that would go wrong with several processes."""
    if args.get("deepspeed") and find_spec("deepspeed") is None:
        desk.problem(f"{desk.at_key}.train.args.deepspeed", "DeepSpeed is not installed: pip install deepspeed")
    resources = variant.resources
    if resources.processes == 1:
        if resources.accelerate != type(resources.accelerate)():
            text = "it says how several processes work together: set resources.processes, too"
            desk.problem(f"{desk.at_key}.resources.accelerate", text)
        return
    for key, text in (*_of_processes(variant, args), *_of_shards(variant, args)):
        desk.problem(f"{desk.at_key}.{key}", text)


def _of_processes(variant: VariantSpec, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    processes, machines = variant.resources.processes, variant.resources.accelerate.machines
    if processes % machines:
        yield "resources.processes", f"{processes} processes cannot be spread evenly over {machines} machines"
    elif text := sharing_problem(args, processes):
        yield "resources.processes", text
    if args.get("dataloader_drop_last"):
        why = "how many rows it drops depends on the number of processes: remove it, or resources.processes"
        yield "train.args.dataloader_drop_last", why
    for name in _ENGINES:
        if args.get(name):
            yield f"train.args.{name}", "not shown to work in several processes: remove it, or resources.processes"
    given = args.get("accelerator_config")
    for name in _SHARING:
        if isinstance(given, Mapping) and name in given:
            yield "train.args.accelerator_config", f"'{name}' would give other rows to a step: remove it"


def _of_shards(variant: VariantSpec, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if variant.resources.accelerate.fsdp is None:
        return
    adapter, at = variant.train.adapter, "resources.accelerate.fsdp"
    if args.get("deepspeed"):
        yield at, "DeepSpeed shards weights in its own way: take one of them"
    if adapter.over_nf4:
        yield at, "weights in NF4 are not sharded: remove fsdp (each process then holds the whole base, in NF4)"
    elif adapter.type != "full" and not adapter.is_lora:
        yield at, f"adapters of the type {adapter.type} are not sharded: remove fsdp, or take one of the LoRA family"
