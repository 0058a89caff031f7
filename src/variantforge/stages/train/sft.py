"""Supervised fine-tuning on TRL's SFTTrainer.

Rows are tokenized and their masks proven here; TRL is handed ``input_ids`` and ``labels`` and takes them as they are.
Everything the user writes under ``train.args`` is given to SFTConfig unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import NoSupervisedTokens, TrainError
from variantforge.fsops import copy_file, make_folder, write_text
from variantforge.hashing import canonical_json
from variantforge.spec.family import AdapterSpec
from variantforge.stages.models import device, quiet
from variantforge.stages.rounding import to_bf16
from variantforge.stages.tokens import load_tokenizer
from variantforge.stages.train import adapters, checkpoints
from variantforge.stages.train.examples import Examples, read_examples, tell_what_was_cut
from variantforge.stages.train.head import compact_head
from variantforge.stages.train.trainer import Careful, stop_callback
from variantforge.step import StepContext

# What holds where the user says nothing. A change here asks for a new Sft.version.
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "max_length": 1024,
    "activation_checkpointing": False,  # TRL's default, True, costs a fifth to a third of the speed
    "seed": 42,
    "logging_steps": 1,
}
FULL = {"learning_rate": 2e-5}  # instead, when all weights are trained
CHECKPOINTS = {"save_strategy": "steps", "save_steps": 0.1, "save_total_limit": 2}  # every tenth of all steps
WARMUP = 0.03  # of all steps, rounded down: TRL's rounding up would spend the only step of a short run at rate zero


class Sft:
    version = 1

    def train(self, context: StepContext) -> None:
        with quiet():
            self._train(context)

    def _train(self, context: StepContext) -> None:
        adapter = AdapterSpec(**context.step.params["adapter"])
        base, data = context.inputs["base"], context.inputs["data"]
        folder, where = base.path / "model", device()
        tokenizer = load_tokenizer(folder)
        config = trainer_config(context, adapter, where.type)
        stop_ids = base.facts["stop_token_ids"]
        examples = read_examples(context, data.path / "train.jsonl", tokenizer, stop_ids, window(config))
        tell_what_was_cut(context, examples, config.max_length)
        model = adapters.load_base(folder, adapter, str(where), bf16=config.bf16)
        matched: list[str] = []
        if adapter.type != "full":
            model, matched = adapters.put_on(model, adapter, config.seed)
        trainer = build_trainer(context, config, model, tokenizer, examples)
        self._run(context, trainer, Path(config.output_dir))
        self._save(context, trainer, adapter, matched)
        context.write_facts(facts(context, trainer, adapter, examples, matched))

    def _run(self, context: StepContext, trainer: Any, folder: Path) -> None:
        resume = checkpoints.newest_valid(folder, context.note)
        if resume:
            context.note(f"going on from {resume.name}")
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)

    def _save(self, context: StepContext, trainer: Any, adapter: AdapterSpec, matched: list[str]) -> None:
        log = "".join(canonical_json(event) + "\n" for event in trainer.state.log_history)
        write_text(context.out / "events.jsonl", log)
        base = context.inputs["base"]
        if adapter.type == "full":
            save_full(trainer.model, base.path / "model", context.out / "model")
            return
        folder = make_folder(context.out / adapters.ADAPTER)
        adapters.save_adapter(trainer.model, folder, str(base.facts["name"]))
        adapters.prove_adapter(folder, matched)


def effective_args(adapter: AdapterSpec, args: Mapping[str, Any]) -> dict[str, Any]:
    """The user's arguments over our defaults. ``gradient_checkpointing`` is the older name of a default here."""
    defaults = {**DEFAULTS, **(FULL if adapter.type == "full" else {})}
    if "gradient_checkpointing" in args:
        del defaults["activation_checkpointing"]
    return {**defaults, **args}


def trainer_config(context: StepContext, adapter: AdapterSpec, device_type: str) -> Any:
    """The SFTConfig of a step: our defaults, the user's arguments, and what is ours alone (spec/owned_args)."""
    from trl import SFTConfig

    args = effective_args(adapter, context.step.params["args"])
    args.setdefault("bf16", not args.get("fp16") and has_bf16(device_type))
    if device_type == "cpu":
        args = {"use_cpu": True, "dataloader_pin_memory": False, **args}
    args |= {"output_dir": str(context.scratch / "checkpoints"), "disable_tqdm": True, "report_to": "none"}
    args |= CHECKPOINTS
    try:
        return SFTConfig(**args)
    except (TypeError, ValueError) as error:
        raise TrainError("TRL does not accept train.args", why=str(error), next="correct train.args") from error


def has_bf16(device_type: str) -> bool:
    """Whether bf16 arithmetic is native here. On a CPU with it, bf16 weights train 1.5 times as fast as float32."""
    import torch

    if device_type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device_type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def window(config: Any) -> slice:
    """The part of a row that is trained, as TRL's truncation_mode says; all of it where packing splits long rows."""
    splits = config.packing and config.packing_strategy != "bfd"
    if config.max_length is None or splits:
        return slice(None)
    return slice(-config.max_length, None) if config.truncation_mode == "keep_end" else slice(None, config.max_length)


def build_trainer(context: StepContext, config: Any, model: Any, tokenizer: Any, examples: Examples) -> Any:
    """An SFTTrainer that is careful: see ``Careful``."""
    import datasets
    from transformers import PrinterCallback
    from trl import SFTTrainer

    datasets.disable_progress_bars()
    trainer = type("CarefulSFTTrainer", (Careful, SFTTrainer), {})(
        model=model,
        args=config,
        train_dataset=examples.dataset(),
        processing_class=tokenizer,
        callbacks=[stop_callback(context)],
    )
    trainer.remove_callback(PrinterCallback)
    adapters.keep_in_float32(trainer.model, autocast=config.bf16)
    compact_head(trainer.model, context.note)
    warmup = None if "warmup_steps" in context.step.params["args"] else WARMUP
    trainer.watch(context, warmup, lambda positions: row_names(trainer.train_dataset, positions))
    return trainer


def row_names(dataset: Any, positions: list[int]) -> list[str]:
    """Row ids; of packed rows, their numbers."""
    if "id" in dataset.column_names:
        return [str(name) for name in dataset.select(positions)["id"]]
    return [f"packed sequence {position}" for position in positions]


def save_full(model: Any, base: Path, out: Path) -> None:
    """All weights in bf16, with the base's own configuration, tokenizer and template."""
    for name, parameter in model.named_parameters():
        parameter.data = to_bf16(parameter.data, name)
    model.save_pretrained(make_folder(out), safe_serialization=True)
    for path in base.iterdir():
        if ".safetensors" not in path.name:
            copy_file(path, out / path.name)


def facts(
    context: StepContext, trainer: Any, adapter: AdapterSpec, examples: Examples, matched: list[str]
) -> dict[str, Any]:
    losses = [event["loss"] for event in trainer.state.log_history if "loss" in event]
    if not losses:
        raise NoSupervisedTokens("not one step was trained", next="raise train.args.num_train_epochs or max_steps")
    return {
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "rows": len(examples.ids),
        "rows_dropped": examples.dropped,
        "rows_cut": examples.cut,
        "tokens": trainer.tokens,
        "supervised_tokens": trainer.supervised_tokens,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "precision": "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "float32",
        "trainable_parameters": sum(parameter.numel() for _, parameter in adapters.trainable(trainer.model)),
        "matched_modules": matched,
        "adapter": adapter.model_dump(mode="json"),
        "args": effective_args(adapter, context.step.params["args"]),
    }
