"""What the preference methods share: the trainer's extra cares, the reference, and what is refused before a start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import Interrupted, TrainError
from variantforge.stages.models import load_model
from variantforge.stages.train import checkpoints
from variantforge.stages.train.trainer import Careful
from variantforge.stages.train.training import Training

if TYPE_CHECKING:
    from variantforge.spec.family import TrainSpec
    from variantforge.stages.stage import Desk

REFERENCE = "ref"  # TRL's name for the adapter that holds the reference


class Prepared(Careful):
    """Takes rows that are tokenized already, with the columns ``own_columns`` beside those that TRL knows."""

    shown: tuple[str, ...] = (
        "loss",
        "rewards/margins",
        "rewards/accuracies",
        "tokens_per_s",
        "learning_rate",
        "grad_norm",
    )
    own_columns: tuple[str, ...] = ()
    _signature_columns: list[str]
    ref_model: Any

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[misc]
        self._signature_columns += [name for name in self.own_columns if name not in self._signature_columns]

    def _everything(self) -> dict[str, Any]:
        """With TRL's count of tokens, which is logged, and with a reference that follows the model."""
        moving = self.ref_model.state_dict() if getattr(self.args, "sync_ref_model", False) else None
        return {**super()._everything(), "seen": getattr(self, "_total_train_tokens", 0), "reference": moving}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        saved = checkpoints.read_state(Path(checkpoint))
        self._total_train_tokens = saved["seen"]
        if saved["reference"] is not None:
            self.ref_model.load_state_dict(saved["reference"])


def every(training: Training, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows one by one, with progress told. Raises Interrupted when the user asks to stop."""
    context = training.context
    for done, row in enumerate(rows):
        if done % 200 == 0:
            context.progress(done, len(rows), "row")
            if context.stopping():
                raise Interrupted("training stopped before its first step", next="the same command starts it again")
        yield row


def window(config: Any) -> slice:
    """The part of a row that is trained, as TRL's truncation_mode says where a method has one."""
    keeps_end = getattr(config, "truncation_mode", "keep_start") == "keep_end"
    if config.max_length is None:
        return slice(None)
    return slice(-config.max_length, None) if keeps_end else slice(config.max_length)


def pad_id(training: Training) -> int:
    """What short rows are filled up with: the tokenizer's padding token, or its EOS where it has none, as in TRL."""
    tokenizer = training.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return int(tokenizer.pad_token_id)


def with_reference(training: Training, make: Callable[..., Any]) -> Any:
    """The trainer that ``make(model=…, ref_model=…)`` gives, with the base (or the parent) as its reference.

    With an adapter the reference is the model with its adapter switched off: no second copy. Training all weights, it
    is a frozen copy in the base's precision, unless its log-probabilities are worked out before the first step.
    """
    if training.adapter.type == "full":
        early = training.config.precompute_ref_log_probs
        with refusals():
            return make(model=training.model(), ref_model=None if early else frozen_base(training))
    model = training.model()
    with plain_copies(model), refusals():
        trainer = make(model=model)
    if not training.adapter.rewrites_base:
        drop_reference(model)
    return trainer


def frozen_base(training: Training) -> Any:
    model = load_model(training.folder, dtype="bfloat16" if training.config.bf16 else "float32")
    return model.to(training.device).requires_grad_(False)


@contextmanager
def plain_copies(model: Any) -> Iterator[None]:
    """Adapters added inside start as plain zeros, whatever the config says of the first one's start.

    TRL adds a copy of the adapter as its reference, and fills it in afterwards. An initialisation that takes a part
    out of the base's weights (PiSSA) would take it out a second time.
    """
    config = model.peft_config["default"]
    told = getattr(config, "init_lora_weights", None)
    if told is None:
        yield
        return
    config.init_lora_weights = True
    try:
        yield
    finally:
        config.init_lora_weights = told


def drop_reference(model: Any) -> None:
    """Takes TRL's copy of the adapter away: with none, TRL switches the adapter off, which is the same model."""
    if REFERENCE in getattr(model, "peft_config", {}):
        model.delete_adapter(REFERENCE)


@contextmanager
def refusals() -> Iterator[None]:
    """What TRL refuses when a trainer is made (arguments that do not go together), as an error of ours; without bars,
    which it draws where it works the reference out beforehand."""
    told = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        raise TrainError("TRL does not accept train.args", why=str(error), next="correct train.args") from error
    finally:
        if told is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = told


def tell_unused_dropout(training: Training) -> None:
    if training.adapter.dropout and training.config.disable_dropout:
        training.context.note(
            f"train.adapter.dropout {training.adapter.dropout} is not used: {training.context.step.method} compares "
            "models without dropout (to use it, set train.args.disable_dropout: false)"
        )


def rates(adapter_type: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A method's defaults; training all weights, a tenth of its rate."""
    rate = defaults["learning_rate"]
    return {**defaults, "learning_rate": rate / 10 if adapter_type == "full" else rate}


def tell_untrainable_head(desk: Desk, train: TrainSpec) -> None:
    """TRL reads the weights of the head past an adapter on it."""
    targets = train.adapter.target_modules
    if train.adapter.type != "full" and not isinstance(targets, str) and "lm_head" in targets:
        why = f"an adapter on lm_head would not be trained by {train.method}: TRL reads the head's own weights"
        desk.problem(f"{desk.at_key}.train.adapter.target_modules", f"{why}. Remove 'lm_head'")


def wrong_reference(train: TrainSpec) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what TRL's trainers would refuse of a reference that moves."""
    if not train.args.get("sync_ref_model"):
        return
    if train.adapter.type != "full":
        yield "sync_ref_model", "with an adapter the reference is the base itself, which stays as it is: remove it"
    elif train.args.get("precompute_ref_log_probs"):
        yield (
            "sync_ref_model",
            "a reference that moves cannot be worked out beforehand: remove precompute_ref_log_probs",
        )
