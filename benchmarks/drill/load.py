"""Eight greedy tokens of every artifact, from the Hub and from the store: run as a process of its own.

Reads on stdin a JSON list of ``{"form", "repo", "revision", "file", "base", "local"}``; ``base`` and ``local`` are
folders (for GGUF: a file) of the store. Writes one JSON line for each: what was loaded from where, and the tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PROMPT = "Write a Python function that returns the sum of a list."
TOKENS = 8


def main() -> None:
    for asked in json.load(sys.stdin):
        there = _tokens(asked, asked["repo"], asked["revision"])
        here = _tokens(asked, asked["local"], None)
        told = {"repo": asked["repo"], "form": asked["form"], "file": asked["file"], "remote": there, "local": here}
        print(json.dumps(told), flush=True)


def _tokens(asked: dict[str, Any], source: str, revision: str | None) -> list[int]:
    if asked["form"] == "gguf":
        return _of_llama_cpp(_gguf(asked, source, revision))
    return _of_transformers(asked, source, revision)


def _of_transformers(asked: dict[str, Any], source: str, revision: str | None) -> list[int]:
    """Merged and NF4 by transformers, an adapter by peft on its base."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"revision": revision} if revision else {}
    base = asked["base"] if asked["form"] == "adapter" else source
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16, **(where if asked["form"] != "adapter" else {})
    )
    if asked["form"] == "adapter":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, source, **where)
    # the tokenizer of an artifact in the store stands beside its model; an adapter's is the base's
    tokenizer = AutoTokenizer.from_pretrained(source if revision or asked["form"] != "adapter" else base, **where)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        made = model.eval().generate(**prompt, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return [int(token) for token in made[0, prompt["input_ids"].shape[1] :]]


def _gguf(asked: dict[str, Any], source: str, revision: str | None) -> str:
    if revision is None:
        return source
    from huggingface_hub import hf_hub_download

    return str(hf_hub_download(source, asked["file"], revision=revision))


def _of_llama_cpp(file: str) -> list[int]:
    import tempfile

    import xllamacpp

    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        params = xllamacpp.CommonParams()
        params.model.path = file
        params.n_ctx = 256
        params.n_parallel = 1
        params.hostnames = [f"{folder}/llama.sock"]
        params.verbosity = 1
        params.warmup = False
        params.ui = False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
        server = xllamacpp.Server(params)
    wish = {"prompt": PROMPT, "n_predict": TOKENS, "temperature": 0.0, "n_probs": 1, "ignore_eos": True}
    answer = server.handle_completions(wish)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return [one["id"] for one in answer["choices"][0]["logprobs"]["content"]]


if __name__ == "__main__":
    sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]
    main()
