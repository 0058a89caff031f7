"""The tokenizer of a base model: read, proven to be read right, and saved as every later stage loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.fsops import write_json
from variantforge.hashing import file_digest, text_digest
from variantforge.stages.base.files import read_json
from variantforge.stages.base.gguf_format import GgufHeader
from variantforge.stages.base.look import check_template
from variantforge.stages.base.unsafe import refuse_code

# What a tokenizer is asked to cut before it is trusted: digits after blank lines and runs of spaces are where
# pre-tokenizers differ.
CHECK_TEXT = (
    "1. First,\n\n2. second: x  = 1234.5e-6;\n\tif a1 != 'b' and c3d:\n        return [7, 88]\n\n\n"
    "I'll say \"WE'VE\" won €5,000 (5%)...  \r\nнаконец 世界こんにちは 🙂🏽 naïve e\u0301  \n end "
)

# Pre-tokenizers (tokenizer.ggml.pre) that cut every digit off before GPT-2's own rule; llama.cpp's src/llama-vocab.cpp.
# transformers reads files with these as plain GPT-2, which joins the blank lines before "1." in another way.
_DIGITS_FIRST = frozenset(
    ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2")
)
_PLAIN_GPT2 = frozenset(("gpt-2", "gpt2", "mpt", "olmo", "jais", "trillion", "granite-docling"))

_NO_LENGTH = 10**9  # transformers writes 1e30 for "not known"
_NOT_KEPT = ("auto_map", "name_or_path", "is_local", "local_files_only", "tokenizer_file", "trust_remote_code")


def tokenizer_from_gguf(path: Path, header: GgufHeader) -> Any:
    """Raises BaseError when the file's way of cutting text cannot be rebuilt exactly."""
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    kind, cut = header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")
    if kind == "gpt2" and not (cut in GGUF_PRE_TOKENIZER_SPLITS or cut in _DIGITS_FIRST or cut in _PLAIN_GPT2):
        raise BaseError(
            f"{path.name} cuts text by a rule that is not known here: tokenizer.ggml.pre is {cut!r}",
            why="Cut by another rule, text would become other tokens than the model has learned.",
            next="use the model's Hub id or its folder with tokenizer.json as base",
        )
    tokenizer = _reading(lambda: PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name), path.name)
    if kind == "gpt2" and cut in _DIGITS_FIRST:
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def tokenizer_from_folder(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return _reading(
        lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False), f"{folder.name}/"
    )


def _reading(load: Callable[[], Any], name: str) -> Any:
    from variantforge.stages.models import quiet

    try:
        with quiet():
            return load()
    except Exception as error:  # the tokenizers library panics and raises plain Exception
        raise BaseError(f"the tokenizer of {name} cannot be read", why=str(error)[:300]) from error


def save_tokenizer(tokenizer: Any, model: Path, context_length: int | None = None) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, when there is one, chat_template.jinja. Raises BaseError when
    the saved tokenizer does not cut text as the one read does."""
    if not tokenizer.is_fast:
        raise BaseError("the tokenizer has no fast form", why="tokenizer.json cannot be written for it")
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default") or next(iter(tokenizer.chat_template.values()))
    check_template(tokenizer.chat_template or "", "tokenizer_config.json")
    if tokenizer.model_max_length > _NO_LENGTH and context_length:
        tokenizer.model_max_length = context_length
    tokenizer.save_pretrained(model)
    config = read_json(model / "tokenizer_config.json")
    refuse_code(config, "tokenizer_config.json")
    write_json(model / "tokenizer_config.json", {key: value for key, value in config.items() if key not in _NOT_KEPT})
    saved = tokenizer_from_folder(model)
    if saved(CHECK_TEXT).input_ids != tokenizer(CHECK_TEXT).input_ids:
        raise BaseError("the saved tokenizer cuts text in another way than the base's own")


def differs_from_its_file(tokenizer: Any, folder: Path) -> bool:
    """Whether transformers' reading of a folder cuts text in another way than its tokenizer.json says."""
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").is_file():
        return False
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    read: list[int] = tokenizer(CHECK_TEXT, add_special_tokens=False).input_ids
    return read != list(raw.encode(CHECK_TEXT, add_special_tokens=False).ids)


def end_of_turn(tokenizer: Any) -> int | None:
    """The special token with which the chat template closes an assistant's turn, when it is a single one."""
    if not tokenizer.chat_template:
        return None
    mark = "Qzx"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception as error:  # a template may raise whatever it likes
        raise BaseError(
            "the chat template cannot render a user's and an assistant's turn", why=str(error)[:300]
        ) from error
    after = text.rpartition(mark)[2].lstrip()
    ids = tokenizer(after, add_special_tokens=False).input_ids
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def stop_ids(tokenizer: Any, generation: dict[str, Any], config: dict[str, Any]) -> list[int]:
    """All tokens that end a generation, the first being the main one: those of generation_config.json (else of
    config.json), the tokenizer's eos, the template's end of turn. Raises BaseError when there are none."""
    named = generation.get("eos_token_id")
    named = config.get("eos_token_id") if named is None else named
    candidates = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id, end_of_turn(tokenizer)]
    ids = [token for token in dict.fromkeys(candidates) if isinstance(token, int) and 0 <= token < len(tokenizer)]
    if not ids:
        raise BaseError(
            "the base names no token that ends a text",
            why="Neither generation_config.json, config.json nor the tokenizer has an eos token; it would never stop.",
        )
    return ids


def tokenizer_facts(tokenizer: Any, model: Path, stops: list[int]) -> dict[str, Any]:
    template = tokenizer.chat_template or ""
    return {
        "template_sha256": text_digest(template) if template else "",
        "tokenizer_sha256": file_digest(model / "tokenizer.json"),
        "stop_tokens": tokenizer.convert_ids_to_tokens(stops),
        "stop_token_ids": stops,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def write_generation_config(model: Path, generation: dict[str, Any], tokenizer: Any, stops: list[int]) -> None:
    """generation_config.json with every stop token in it; other settings as the base has them."""
    kept = {key: value for key, value in generation.items() if not key.startswith("_") and value is not None}
    kept |= {"eos_token_id": stops if len(stops) > 1 else stops[0]}
    for key, value in (("bos_token_id", tokenizer.bos_token_id), ("pad_token_id", tokenizer.pad_token_id)):
        if value is not None:
            kept.setdefault(key, value)
    write_json(model / "generation_config.json", kept)
