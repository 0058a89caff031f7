"""What a subject's own chat template and vocabulary say: whether it takes tools, and which tokens give a chat its form.

Read from the bytes that ship: the model folder, or the metadata of the GGUF file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from variantforge.errors import DataError
from variantforge.stages.data.hygiene import control_tokens
from variantforge.step import Artifact

_PROBE = "vf_probe_tool"
_CONTROL = 3  # the type of a control token in a GGUF file


def takes_tools(subject: Artifact) -> bool:
    """Whether a tool that is offered reaches the prompt. A template that knows nothing of tools leaves it out; and
    llama.cpp would then write instructions of its own, which no other runtime does."""
    from transformers.utils.chat_template_utils import render_jinja_template

    tool = {"type": "function", "function": {"name": _PROBE, "description": "A probe.", "parameters": _NO_PARAMETERS}}
    asked = [[{"role": "user", "content": "Hi"}]]
    template = _template(subject)
    if not template:
        return False
    try:
        written, _ = render_jinja_template(asked, [tool], chat_template=template, add_generation_prompt=True)
    except Exception:  # a template may raise whatever it likes: with tools it does not work
        return False
    return _PROBE in written[0]


_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def _template(subject: Artifact) -> str:
    from variantforge.stages.tokens import load_tokenizer

    if gguf := _gguf(subject):
        from variantforge.stages.quantize.gguf_file import GgufFile

        return GgufFile.open(gguf).chat_template
    try:
        return str(load_tokenizer(subject.path / "model").get_chat_template(tools=[{}]))
    except (ValueError, DataError):
        return ""


def form_tokens(subject: Artifact) -> list[str]:
    """Control tokens that the template writes, and those that end or begin a text."""
    gguf = _gguf(subject)
    if not gguf:
        return control_tokens(subject.path / "model", subject.facts)
    from variantforge.stages.quantize.gguf_file import GgufFile

    file = GgufFile.open(gguf)
    tokens, types = file.get("tokenizer.ggml.tokens", []), file.get("tokenizer.ggml.token_type", [])
    ends = {file.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom")}
    template = file.chat_template
    control = (
        (id, str(token)) for id, (token, kind) in enumerate(zip(tokens, types, strict=False)) if kind == _CONTROL
    )
    return sorted(token for id, token in control if token.strip() and (id in ends or token in template))


def _gguf(subject: Artifact) -> Path | None:
    path = subject.path / "model.gguf"
    return path if path.is_file() else None
