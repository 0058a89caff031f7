"""Folding any adapter that PEFT can merge, by its own arithmetic, with the model held in float32.

What PEFT made of each tensor is written under the name that the base's files have for it (transformers may hold the
experts of a layer as one tensor where the files have one for each), rounded once; what it left alone keeps its bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import MergeError, WrongBase
from variantforge.fsops import copy_file
from variantforge.stages.models import load_model
from variantforge.stages.rounding import to_bf16
from variantforge.stages.train import adapters
from variantforge.step import StepContext

if TYPE_CHECKING:
    from torch import Tensor

_VERIFY = "run: variantforge verify, then apply again"


def load_adapter(model: Any, adapter: Path) -> Any:
    """The adapter on the model, each of its tensors in its place. Raises WrongBase where one has none."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        tuned = PeftModel.from_pretrained(model, adapter, local_files_only=True).eval()
    except (ValueError, RuntimeError, KeyError) as error:
        raise WrongBase("the adapter does not fit the base", why=str(error), next=_VERIFY) from error
    saved, there = load_file(adapter / adapters.WEIGHTS), get_peft_model_state_dict(tuned, save_embedding_layers=False)
    lost = sorted(saved.keys() - there.keys()) or sorted(there.keys() - saved.keys())
    if lost:
        raise WrongBase(
            f"the adapter does not fit the base: {lost[0]} has no place in it",
            why=f"The adapter holds {len(saved)} tensors; this base has places for {len(there)}.",
            next=_VERIFY,
        )
    return tuned


def fold(context: StepContext, base: Path, adapter: Path, out: Path) -> int:
    """Writes ``out`` as ``base`` with the adapter in its weights; returns how many tensors changed."""
    from safetensors.torch import load_file, save_file

    merged = _merged(base, adapter)
    files, changed = sorted(base.iterdir()), 0
    for done, path in enumerate(files):
        if path.suffix != ".safetensors":
            copy_file(path, out / path.name)
            continue
        tensors = load_file(path)
        for name in sorted(merged.keys() & tensors.keys()):
            if not merged[name].equal(tensors[name].float()):
                tensors[name] = to_bf16(merged[name], name)
                changed += 1
        save_file(tensors, out / path.name, metadata={"format": "pt"})
        context.progress(done + 1, len(files), "file")
    return changed


def _merged(base: Path, adapter: Path) -> dict[str, Tensor]:
    """Name in the base's files -> what it becomes, float32. Raises MergeError for what PEFT cannot merge, or what has
    no place in the files."""
    from transformers.core_model_loading import revert_weight_conversion

    tuned = load_adapter(load_model(base, dtype="float32"), adapter)
    try:
        model = tuned.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as error:  # how PEFT says that a kind has no merge
        raise MergeError(
            "this kind of adapter cannot be folded into its base",
            why=str(error),
            next="set another train.adapter.type, such as lora or dora",
        ) from error
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    _require_tie(model, tensors)
    return dict(revert_weight_conversion(model, tensors))


def _require_tie(model: Any, tensors: dict[str, Tensor]) -> None:
    """A tied head has no tensor of its own in the files: one that differs from the embedding would be lost."""
    head = model.get_output_embeddings()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    if tied and head is not None and not head.weight.equal(model.get_input_embeddings().weight):
        raise MergeError(
            "embedding and head were trained apart, and the base holds both as one tensor",
            why="One of the two would be lost when the model is loaded.",
            next="take them out of train.adapter.modules_to_save",
        )
