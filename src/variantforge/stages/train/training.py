"""One run of a TRL trainer over a base: what all methods share.

A method reads its rows, asks for a model and a trainer, and hands the trained one back:

    training = Training(context, defaults)
    trainer = training.trainer(SFTTrainer, dataset)
    training.run(trainer)
    training.save(trainer)
    context.write_facts(training.facts(trainer, rows=…))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from variantforge.errors import NoSupervisedTokens, WrongRows
from variantforge.fsops import copy_file, make_folder, write_text
from variantforge.hashing import canonical_json
from variantforge.spec.family import AdapterSpec
from variantforge.stages.data import hygiene
from variantforge.stages.models import device
from variantforge.stages.rounding import to_bf16
from variantforge.stages.rows import TRAIN, kind_of, read_rows
from variantforge.stages.tokens import load_tokenizer
from variantforge.stages.train import adapters, checkpoints
from variantforge.stages.train.config import WARMUP, effective_args, trainer_config
from variantforge.stages.train.processes import Layout, ranks, shared
from variantforge.stages.train.smaller import halved
from variantforge.stages.train.trainer import Careful, stop_callback
from variantforge.step import StepContext


class Training:
    """``config`` is TRL's, ``tokenizer`` the base's; ``matched`` names the modules that the adapter stands on."""

    def __init__(self, context: StepContext, defaults: Mapping[str, Any]) -> None:
        self.context, self._defaults = context, defaults
        self.adapter = AdapterSpec(**context.step.params["adapter"])
        self.base, self.data = context.inputs["base"], context.inputs["data"]
        self.folder, self.device = self.base.path / "model", device()
        self.stop_ids: list[int] = self.base.facts["stop_token_ids"]
        self.config = trainer_config(context, self.adapter, self.device.type, defaults)
        self.matched: list[str] = []

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.folder)

    def rows(self, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The rows to train on. Raises WrongRows at the first that is of none of ``kinds``, ControlTokensInText at the
        first that has control tokens of the base in its text (unless they are to be kept)."""
        method, kinds = self.context.step.method, tuple(kinds)
        keep = self.context.step.params.get("special_tokens") == "keep"
        control = hygiene.ControlTokens([] if keep else hygiene.control_tokens(self.folder, self.base.facts))
        for row in read_rows(self.data.path / TRAIN):
            if kind_of(row) not in kinds:
                raise WrongRows(
                    f"{method} cannot learn from the rows of '{row['source']}': they are of the kind {kind_of(row)}",
                    why=f"{method} learns from rows of the kind {' or '.join(kinds)}.",
                    next=f"take {row['source']} out of the variant's data, or set another train.method",
                )
            control.refuse(row)
            yield row

    def model(self) -> Any:
        """The base, ready to be trained: with an adapter on it, or all of it. Raises UnmatchedTargets."""
        model = adapters.load_base(self.folder, self.adapter, str(self.device), bf16=self.config.bf16)
        if self.adapter.type != "full":
            model, self.matched = adapters.put_on(model, self.adapter, self.config.seed)
            self.context.note(adapters.matched_line(adapters.report(model, self.matched)))
        return model

    def trainer(
        self, trainer_class: type, dataset: Any, *, careful: type[Careful] = Careful, model: Any = None, **more: Any
    ) -> Any:
        """A trainer of ``trainer_class`` that is careful (see ``Careful``); ``more`` goes to it as it is."""
        import datasets
        from transformers import PrinterCallback

        datasets.disable_progress_bars()
        trainer = type(f"Careful{trainer_class.__name__}", (careful, trainer_class), {})(
            model=self.model() if model is None else model,
            args=self.config,
            train_dataset=dataset,
            processing_class=self.tokenizer,
            callbacks=[stop_callback(self.context)],
            **more,
        )
        trainer.remove_callback(PrinterCallback)
        adapters.keep_in_float32(trainer.model, autocast=self.config.bf16)
        warmup = None if "warmup_steps" in self.context.step.params["args"] else WARMUP
        trainer.watch(self.context, warmup, lambda positions: row_names(trainer.train_dataset, positions))
        return trainer

    def run(self, trainer: Any) -> None:
        """Trains to the end, from the newest whole checkpoint where there is one."""
        resume = self._newest_checkpoint()
        if resume:
            self.context.note(f"going on from {resume.name}")
        if self.config.deepspeed:
            self.context.note("no checkpoints are kept with DeepSpeed: if this training is stopped, it begins anew")
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)

    def _newest_checkpoint(self) -> Path | None:
        """The newest that is whole, found by those that write; with several processes, all go on from the same."""
        folder = Path(self.config.output_dir)
        found = checkpoints.newest_valid(folder, self.context.note) if ranks.writes() else None
        names = set(ranks.told_by_all(found.name if found else "" if ranks.writes() else None)) - {None}
        if len(names) > 1:
            self.context.note(f"the machines hold different checkpoints ({', '.join(sorted(names))}): starting anew")
        return folder / name if len(names) == 1 and (name := names.pop()) else None

    def save(self, trainer: Any) -> None:
        """Writes the log and the adapter (or all weights), proven. Raises EmptyAdapter."""
        trained = trained_weights(trainer)
        if not ranks.writes():
            return
        log = "".join(canonical_json(event) + "\n" for event in trainer.state.log_history)
        write_text(self.context.out / "events.jsonl", log)
        if self.adapter.type == "full":
            save_full(trainer.model, self.folder, self.context.out / "model", trained)
            return
        folder = make_folder(self.context.out / adapters.ADAPTER)
        adapters.save_adapter(trainer.model, folder, adapters.base_name(self.base), trained)
        adapters.prove_adapter(folder, self.matched)

    def facts(self, trainer: Any, **of_the_rows: int) -> dict[str, Any]:
        """What every training tells; ``of_the_rows``: counts of rows. Raises NoSupervisedTokens after no step."""
        losses = [event["loss"] for event in trainer.state.log_history if "loss" in event]
        if not losses:
            raise NoSupervisedTokens("not one step was trained", next="raise train.args.num_train_epochs or max_steps")
        args = effective_args(self.adapter, self.context.step.params["args"], self._defaults)
        layout = Layout.of(self.context.step.hints, args)
        used = halved({**args, **shared(args, layout.processes)}, self.context.scratch)
        return {
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            **of_the_rows,
            "tokens": trainer.tokens,
            "supervised_tokens": trainer.supervised_tokens,
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "precision": "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "float32",
            "trainable_parameters": sum(parameter.numel() for _, parameter in adapters.trainable(trainer.model)),
            **adapters.report(trainer.model, self.matched),
            "base_sha256": adapters.base_digest(self.folder),
            "adapter": self.adapter.model_dump(mode="json"),
            "args": args,
            **({"out_of_memory": used} if used else {}),
            **({"processes": layout.told} if layout.processes > 1 else {}),
        }


def first_and_last(trainer: Any, *names: str) -> dict[str, Any]:
    """``{name: {"first": …, "last": …}}`` of metrics that a trainer has logged; a name that it never logged is left
    out."""
    logged = {name: [event[name] for event in trainer.state.log_history if name in event] for name in names}
    return {name: {"first": values[0], "last": values[-1]} for name, values in logged.items() if values}


def row_names(dataset: Any, positions: list[int]) -> list[str]:
    """Row ids; of packed rows, their numbers."""
    if "id" in dataset.column_names:
        return [str(name) for name in dataset.select(positions)["id"]]
    return [f"packed sequence {position}" for position in positions]


def trained_weights(trainer: Any) -> dict[str, Any] | None:
    """What was trained, gathered whole, where its shards lie in several processes; else None: the model has it."""
    parameters = adapters.trainable(trainer.model)
    if not any(ranks.in_shards(parameter) for _, parameter in parameters):
        return None
    return {name: ranks.whole(parameter) for name, parameter in parameters}


def save_full(model: Any, base: Path, out: Path, trained: Mapping[str, Any] | None = None) -> None:
    """All weights in bf16, with the base's own configuration, tokenizer and template. ``trained``: the weights, where
    the model holds but a part of them."""
    if trained is None:
        for name, parameter in model.named_parameters():
            parameter.data = to_bf16(parameter.data, name)
        model.save_pretrained(make_folder(out), safe_serialization=True)
    else:
        state = {name: to_bf16(tensor, name) for name, tensor in trained.items()}
        model.save_pretrained(make_folder(out), safe_serialization=True, state_dict=state)
    for path in base.iterdir():
        if ".safetensors" not in path.name:
            copy_file(path, out / path.name)
