"""Doing a base step: from pinned bytes to ``model/``, read back from disk and compared with its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from variantforge.errors import BaseError, IntegrityError
from variantforge.fsops import make_folder, write_json
from variantforge.hashing import file_digest, tree_digest
from variantforge.stages.base import from_folder, look
from variantforge.stages.base import tokenizer as tokens
from variantforge.stages.base.files import pinned_files, read_json
from variantforge.stages.base.from_gguf import model_from_gguf
from variantforge.stages.base.from_hub import fetch
from variantforge.stages.base.gguf_header import read_gguf_header
from variantforge.stages.models import load_model, quiet
from variantforge.step import Pin, StepContext


def materialise(context: StepContext) -> None:
    """Fills ``model/`` and writes the facts. Raises BaseError, UnsafeFile or IntegrityError."""
    at = context.step.pins["model"].at
    _must_be_as_pinned(context.step.pins["model"])
    model = make_folder(context.out / "model")
    if context.step.method == "gguf":
        tokenizer, generation, told = _from_gguf(context, Path(at), model)
    else:
        folder = _fetched(context, at) if context.step.method == "hub" else Path(at)
        tokenizer, generation, told = _from_folder(context, folder, model)
    config = read_json(model / "config.json")
    tokens.save_tokenizer(tokenizer, model, config.get("max_position_embeddings"))
    stops = tokens.stop_ids(tokenizer, generation, config)
    tokens.write_generation_config(model, generation, tokenizer, stops)
    context.write_facts({**_read_back(model, tokenizer), **tokens.tokenizer_facts(tokenizer, model, stops), **told})


def _must_be_as_pinned(pin: Pin) -> None:
    """Raises IntegrityError when local bytes are not those that were planned with. (A commit vouches for itself.)"""
    path = Path(pin.at)
    if pin.at.startswith("hub:"):
        return
    if path.is_dir():
        files = pinned_files(path, model=True)
        found = tree_digest({file.relative_to(path).as_posix(): file_digest(file) for file in files})
    else:
        found = file_digest(path) if path.is_file() else ""
    if found != pin.digest:
        raise IntegrityError(
            f"{path} has changed since the plan was made",
            why="What is made of it would not be what the plan says.",
            next="run the same command again: it plans with the files as they are now",
        )


def _from_gguf(context: StepContext, path: Path, model: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Tokenizer, generation settings, and what the file tells of itself."""
    header = read_gguf_header(path)
    tokenizer = tokens.tokenizer_from_gguf(path, header)
    context.progress(0, header.elements, "parameter")
    loaded = model_from_gguf(path, header, context.scratch)
    for name, parameter in loaded.named_parameters():
        from_folder.refuse_nonfinite(parameter, name)
    with quiet():
        loaded.save_pretrained(model, max_shard_size="4GB")
    context.progress(header.elements, header.elements, "parameter")
    write_json(model / "config.json", from_folder.clean_config(read_json(model / "config.json")))
    told = {
        "name": look.gguf_name(header) or f"{header.architecture}-{header.elements // 1_000_000}M",
        "license": look.one_license(header.metadata.get("general.license")),
    }
    return tokenizer, {}, told


def _from_folder(context: StepContext, folder: Path, model: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The same for a folder of safetensors, a snapshot of the Hub included."""
    config = look.read_config(folder)
    tensors = look.read_inventory(folder)
    tokenizer = tokens.tokenizer_from_folder(folder)
    if tokens.differs_from_its_file(tokenizer, folder):
        context.note(
            "transformers cuts text in another way than tokenizer.json says; its way is kept, as for all users"
        )
    write_json(model / "config.json", from_folder.clean_config(config))
    drop = from_folder.tied_copies(folder, _tied_names(model), tensors)
    from_folder.write_weights(
        folder, tensors, model, drop, lambda done, total: context.progress(done, total, "parameter")
    )
    settings = folder / "generation_config.json"
    at = context.step.pins["model"].at
    told = {
        "name": at.removeprefix("hub:").partition("@")[0] if at.startswith("hub:") else _name_in(config),
        "license": look.folder_license(folder, config),
    }
    return tokenizer, read_json(settings) if settings.is_file() else {}, told


def _fetched(context: StepContext, at: str) -> Path:
    return fetch(at, lambda done, total: context.progress(done, total, "file"))


def _name_in(config: dict[str, Any]) -> str:
    """A name from the folder's own bytes, never from where it lies: equal folders give equal facts."""
    named = str(config.get("_name_or_path") or "").rstrip("/").rpartition("/")[2]
    return named or str(config["model_type"])


def _tied_names(model: Path) -> dict[str, str]:
    """Which tensors the config ties to which, from the empty model. Raises BaseError for an unknown architecture."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a config it does not know
        raise BaseError(
            "transformers cannot build a causal language model from config.json", why=str(error)[:300]
        ) from error
    return dict(empty.all_tied_weights_keys)


def _read_back(model: Path, tokenizer: Any) -> dict[str, Any]:
    """Facts of the model as it now lies on disk. Raises BaseError when it cannot be loaded, tensors are missing or
    left over, or the vocabulary is smaller than the tokenizer's."""
    config = read_json(model / "config.json")
    loaded = load_model(model, dtype="bfloat16")
    embeddings = loaded.get_input_embeddings().weight
    if len(tokenizer) > embeddings.shape[0]:
        raise BaseError(f"the tokenizer has {len(tokenizer):,} tokens, the model embeds {embeddings.shape[0]:,}")
    head = loaded.get_output_embeddings()
    return {
        "architecture": type(loaded).__name__,
        "model_type": config["model_type"],
        "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
        "tied": head is not None and head.weight is embeddings,
        "vocab_size": embeddings.shape[0],
    }
