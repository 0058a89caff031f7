"""What is trained: LoRA matrices beside a frozen base (in bf16, or in NF4 for QLoRA), or all weights.

Adapters live in float32 while they are trained and are saved so; the base is never changed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EmptyAdapter, TrainError, UnmatchedTargets
from variantforge.fsops import write_json
from variantforge.spec.family import AdapterSpec
from variantforge.stages.models import load_model, quiet

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch.nn import Module

ADAPTER = "adapter"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def load_base(folder: Path, adapter: AdapterSpec, device: str, *, bf16: bool) -> Module:
    """The base as the adapter wants it: NF4 for qlora, float32 for full, else bf16 (float32 where asked for)."""
    if adapter.type == "qlora":
        return load_nf4(folder, device)
    model = load_model(folder, dtype="bfloat16" if bf16 and adapter.type == "lora" else "float32")
    return model.to(device)


def load_nf4(folder: Path, device: str) -> Module:
    """A base with its linear layers in NF4 (double quantization, bf16 arithmetic), as in the QLoRA paper."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with quiet():
        return AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=nf4,
            dtype=torch.bfloat16,
            device_map={"": device},
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )


def lora_config(adapter: AdapterSpec) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )


def put_on(model: Module, adapter: AdapterSpec, seed: int) -> tuple[Module, list[str]]:
    """The model with fresh LoRA matrices in float32 (drawn from ``seed``), and the names of the modules that have them.

    Raises UnmatchedTargets when a target names nothing, TrainError when it names something other than a linear layer.
    """
    import torch
    from peft import get_peft_model

    require_targets(model, adapter.target_modules)
    torch.manual_seed(seed)
    with quiet():
        try:
            tuned = get_peft_model(model, lora_config(adapter))
        except ValueError as error:  # a target that names a block, not a layer
            raise TrainError("target_modules cannot be trained as written", why=str(error), next=_TARGETS) from error
    others = [name for name, _ in trainable(tuned) if ".lora_A." not in name and ".lora_B." not in name]
    if others:
        raise TrainError(
            f"target_modules names something that is not a linear layer: {_plain(others[0])}",
            why="Only adapters on linear layers can be folded into the base when the variant is merged.",
            next=_TARGETS,
        )
    return tuned, sorted(_plain(name) for name, _ in trainable(tuned) if ".lora_A." in name)


def require_targets(model: Module, targets: str | list[str]) -> None:
    """Raises UnmatchedTargets unless *each* listed target names a module: PEFT is content when one of them does."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    if targets == "all-linear":
        return
    names = [name for name, _ in model.named_modules() if name]
    for target in [targets] if isinstance(targets, str) else targets:
        alone = LoraConfig(target_modules=target if isinstance(targets, str) else [target])
        if not any(check_target_module_exists(alone, name) for name in names):
            raise _unmatched(target, _linear_endings(model))


def _linear_endings(model: Module) -> list[str]:
    from torch.nn import Linear

    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, Linear)})


def _unmatched(target: str, endings: list[str]) -> UnmatchedTargets:
    close = difflib.get_close_matches(target, endings, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return UnmatchedTargets(
        f"target_modules: '{target}' names no module of this model.{hint}",
        why=f"It would stay untrained without a word. Linear layers here: {', '.join(endings)}.",
        next=_TARGETS,
    )


def keep_in_float32(model: Module, *, autocast: bool) -> None:
    """What is trained, in float32: TRL turns the adapters of NF4 bases to bf16, where small updates are rounded away.

    Under autocast PEFT need not cast inputs to the adapter's type first: they are cast to bf16 right after.
    """
    for _, parameter in trainable(model):
        parameter.data = parameter.data.float()
    for module in model.modules():
        if autocast and hasattr(module, "lora_A"):
            module.cast_input_dtype_enabled = False


def trainable(model: Module) -> list[tuple[str, Any]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """Writes a PEFT adapter folder that names its base by ``base_name`` and holds no path of this machine."""
    with quiet():
        model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's own card names the folder of the base
    config = json.loads((folder / CONFIG).read_text())
    config["base_model_name_or_path"] = base_name
    config["target_modules"] = _sorted(config["target_modules"])
    write_json(folder / CONFIG, config)


def prove_adapter(folder: Path, matched: Iterable[str]) -> None:
    """Reads the adapter back. Raises EmptyAdapter unless all matrices are there and finite, and some B is not zero."""
    from safetensors.torch import load_file

    tensors, modules = load_file(folder / WEIGHTS), set(matched)
    if len(tensors) != 2 * len(modules):
        raise EmptyAdapter(
            f"the saved adapter holds {len(tensors)} tensors instead of {2 * len(modules)}",
            why=f"{len(modules)} modules were trained, each with an A and a B matrix.",
        )
    broken = sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all())
    if broken:
        raise EmptyAdapter(f"the saved adapter holds numbers that are not finite: {broken[0]}", next=_LOWER_RATE)
    if not any(tensor.any() for name, tensor in tensors.items() if ".lora_B." in name):
        raise EmptyAdapter(
            "the saved adapter changes nothing: all its B matrices are zero",
            why="No step has moved a weight: the learning rate was zero, or too small for the number of steps.",
            next="look at learning_rate and the number of steps in train.args",
        )


_TARGETS = "write the names of linear layers into train.adapter.target_modules, or all-linear"
_LOWER_RATE = "lower train.args.learning_rate, then run the same command again"


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _plain(name: str) -> str:
    """A module's name in the base model: without PEFT's wrapping and the matrix's own ending."""
    return name.removeprefix("base_model.model.").partition(".lora_")[0].removesuffix(".weight")
