"""An adapter as the family file says it -> the config object that PEFT wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from variantforge.errors import TrainError
from variantforge.spec.family import AdapterSpec

if TYPE_CHECKING:
    from peft import PeftConfig

# Types whose modules PEFT itself knows better than "every linear layer".
_OWN_TARGETS = ("ia3", "ln_tuning", "trainable_tokens")


def peft_config(
    adapter: AdapterSpec,
    *,
    targets: str | list[str] | None = None,
    target_parameters: list[str] | None = None,
    tied: bool = False,
) -> PeftConfig:
    """``targets`` and ``target_parameters``: those of ``adapter``, spelled out. ``tied``: embedding and head are one
    tensor, and are trained as one.

    Raises TrainError when PEFT does not accept what is written.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType

    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(adapter.config_type.upper())]
    fields = {**_where(adapter, targets), **(_lora(adapter) if adapter.is_lora else {}), **adapter.args}
    if target_parameters:
        fields["target_parameters"] = target_parameters
    if tied and adapter.is_lora and adapter.modules_to_save:
        fields["ensure_weight_tying"] = True
    try:
        return config_class(task_type="CAUSAL_LM", **fields)
    except (TypeError, ValueError, ImportError) as error:
        raise TrainError(
            f"PEFT does not accept train.adapter of the type {adapter.type}",
            why=str(error),
            next="correct train.adapter",
        ) from error


def _where(adapter: AdapterSpec, targets: str | list[str] | None) -> dict[str, Any]:
    unsaid = "target_modules" not in adapter.model_fields_set
    fields: dict[str, Any] = {"target_modules": adapter.target_modules if targets is None else targets}
    if unsaid and adapter.type in _OWN_TARGETS:
        del fields["target_modules"]
    if adapter.exclude_modules is not None:
        fields["exclude_modules"] = adapter.exclude_modules
    if adapter.modules_to_save:
        fields["modules_to_save"] = list(adapter.modules_to_save)
    return fields


def _lora(adapter: AdapterSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {"r": adapter.r, "lora_alpha": adapter.alpha, "lora_dropout": adapter.dropout}
    match adapter.type:
        case "dora":
            fields["use_dora"] = True
        case "rslora":
            fields["use_rslora"] = True
        case "pissa":
            fields["init_lora_weights"] = "pissa"
    return {"bias": "none", **fields}
