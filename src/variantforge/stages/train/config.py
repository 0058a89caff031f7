"""Arguments: what the user wrote, over what holds where nothing is said, as the config object that TRL wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from variantforge.errors import TrainError
from variantforge.spec.family import AdapterSpec
from variantforge.spec.owned_args import is_tracking
from variantforge.spec.trainer_args import config_module
from variantforge.stages.train.processes import Layout, shared, sharing_problem
from variantforge.stages.train.smaller import MICRO_BATCH, halved
from variantforge.step import StepContext

# What holds for every method where the user says nothing. A change here asks for new versions of all methods.
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "lr_scheduler_type": "cosine",
    "activation_checkpointing": False,  # TRL's default, True, costs a fifth to a third of the speed
    "seed": 42,
    "logging_steps": 1,
}
FULL = {"learning_rate": 2e-5}  # instead, when all weights are trained
CHECKPOINTS = {"save_strategy": "steps", "save_steps": 0.1, "save_total_limit": 2}  # every tenth of all steps
WARMUP = 0.03  # of all steps, rounded down: TRL's rounding up would spend the only step of a short run at rate zero


def split_tracking(args: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments that enter the key, and those that only say where metrics are sent."""
    tracking = {name: value for name, value in args.items() if is_tracking(name)}
    return {name: value for name, value in args.items() if name not in tracking}, tracking


def effective_args(adapter: AdapterSpec, args: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The user's arguments over our defaults. ``gradient_checkpointing`` is the older name of a default here.

    Training all weights has a smaller rate of its own, unless the method's is smaller still.
    """
    own = {**DEFAULTS, **defaults}
    if adapter.type == "full":
        own["learning_rate"] = min(FULL["learning_rate"], own["learning_rate"])
    if "gradient_checkpointing" in args:
        del own["activation_checkpointing"]
    return {**own, **args}


def trainer_config(
    context: StepContext, adapter: AdapterSpec, device_type: str, defaults: Mapping[str, Any] | None = None
) -> Any:
    """The TRL config of a step: defaults, the user's arguments, and what is ours alone (spec/owned_args)."""
    args = effective_args(adapter, context.step.params["args"], {} if defaults is None else defaults)
    args.setdefault("bf16", not args.get("fp16") and has_bf16(device_type))
    if device_type == "cpu":
        args = {"use_cpu": True, "dataloader_pin_memory": False, **args}
    args |= {"output_dir": str(context.scratch / "checkpoints"), "disable_tqdm": True}
    args |= {"report_to": "none", **context.step.hints.get("tracking", {})}
    args |= CHECKPOINTS | own_share(args, context)
    try:
        return config_class(context.step.method)(**args)
    except (TypeError, ValueError) as error:
        raise TrainError("TRL does not accept train.args", why=str(error), next="correct train.args") from error


def own_share(args: Mapping[str, Any], context: StepContext) -> dict[str, Any]:
    """Arguments of each process: its share of the global batch, halved where memory has not sufficed before."""
    layout = Layout.of(context.step.hints, args)
    parts = shared(args, layout.processes)
    if layout.processes > 1 and not parts:
        raise TrainError("the processes cannot share the global batch", why=sharing_problem(args, layout.processes))
    sharding = {"fsdp": True, "fsdp_config": dict(layout.fsdp)} if layout.fsdp is not None else {}
    return {**parts, **halved({**args, **parts}, context.scratch), **_answered_at_once(args), **sharding}


def _answered_at_once(args: Mapping[str, Any]) -> dict[str, Any]:
    """Answers generated before the next step (grpo), as the user counts them, in micro-batches of one process, whatever
    becomes of the micro-batch."""
    steps = args.get("steps_per_generation")
    return {"generation_batch_size": steps * args[MICRO_BATCH], "steps_per_generation": None} if steps else {}


def config_class(method: str) -> Any:
    """The class of TRL that holds a method's arguments."""
    from importlib import import_module

    module, name = config_module(method)
    return getattr(import_module(module), name)


def has_bf16(device_type: str) -> bool:
    """Whether bf16 arithmetic is native here. On a CPU with it, bf16 weights train 1.5 times as fast as float32."""
    import torch

    if device_type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device_type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
