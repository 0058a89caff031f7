"""What a repo can hold: one row a form. The next format is one row here and one in ``QUANTIZERS``.

A form of quantized weights has the name of its quantizer, as ``quantize`` lists it (``gguf`` of ``gguf:Q4_K_M``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True, slots=True)
class Held:
    """``suffix``: of the repo's name, as people search for it. ``holds``: a transformers folder, single files that are
    chosen from, or an adapter. ``loader`` (the library that loads it) and ``tags``: of the card's front matter.

    ``title``, ``lead``, ``made`` and ``where``: the form's words on pages: in a list, in a card's first sentence, on
    how it was made, on what machine it is for. ``run_with``: the programs that read it; ``needs``: what has to be
    installed for transformers to; ``served``: whether ``vllm serve`` takes it as it is.
    """

    suffix: str
    holds: Literal["folder", "files", "adapter"]
    loader: str
    tags: tuple[str, ...]
    title: str
    lead: str
    quantized: bool = True
    made: str = ""
    where: str = ""
    run_with: str = ""
    needs: str = ""
    served: bool = False

    @property
    def is_quantized_folder(self) -> bool:
        return self.quantized and self.holds == "folder"


_BITSANDBYTES = "transformers with bitsandbytes"
_SERVER = "a server with GPUs and many users"

FORMS: dict[str, Held] = {
    "merged": Held(
        "",
        "folder",
        "transformers",
        (),
        "full weights (transformers)",
        "the full weights, ready for transformers",
        False,
    ),
    "adapter": Held(
        "-LoRA", "adapter", "peft", (), "adapter (peft)", "the adapter alone, to be loaded onto its base", False
    ),
    "gguf": Held(
        suffix="-GGUF",
        holds="files",
        loader="gguf",
        tags=("gguf", "llama.cpp"),
        title="GGUF files (llama.cpp, Ollama)",
        lead="GGUF files for llama.cpp, Ollama and what is built on them",
    ),
    "nf4": Held(
        suffix="-nf4",
        holds="folder",
        loader="transformers",
        tags=("bitsandbytes", "4-bit"),
        title="NF4 weights (bitsandbytes)",
        lead="weights in NF4 for transformers with bitsandbytes",
        made="bitsandbytes NF4 of the merged weights",
        where="a GPU with little memory",
        run_with=_BITSANDBYTES,
        needs="bitsandbytes",
    ),
    "int8": Held(
        suffix="-bnb-8bit",
        holds="folder",
        loader="transformers",
        tags=("bitsandbytes", "8-bit"),
        title="8-bit weights (bitsandbytes)",
        lead="weights in 8 bit, LLM.int8(), for transformers with bitsandbytes",
        made="bitsandbytes LLM.int8() of the merged weights",
        where="a GPU with half the memory that the full weights take",
        run_with=_BITSANDBYTES,
        needs="bitsandbytes",
    ),
    "fp8": Held(
        suffix="-FP8",
        holds="folder",
        loader="transformers",
        tags=("compressed-tensors", "fp8", "vllm"),
        title="FP8 weights (vLLM)",
        lead="weights and activations in FP8 for vLLM (compressed-tensors, FP8_DYNAMIC)",
        made="FP8 of the merged weights, a scale per row; activations a scale per token, worked out while it runs",
        where=f"{_SERVER}, Hopper or Ada and newer",
        run_with="vLLM",
        needs="compressed-tensors",
        served=True,
    ),
    "w4a16": Held(
        suffix="-W4A16",
        holds="folder",
        loader="transformers",
        tags=("compressed-tensors", "w4a16", "int4", "vllm"),
        title="4-bit weights, W4A16 (vLLM)",
        lead="weights in 4 bit for vLLM (compressed-tensors, W4A16)",
        made="symmetric 4-bit integers of the merged weights, a scale per group of a row, rounded to the nearest",
        where=f"{_SERVER} and little memory",
        run_with="vLLM",
        needs="compressed-tensors",
        served=True,
    ),
    "w8a8": Held(
        suffix="-W8A8",
        holds="folder",
        loader="transformers",
        tags=("compressed-tensors", "w8a8", "int8", "vllm"),
        title="8-bit weights and activations, W8A8 (vLLM)",
        lead="weights and activations in 8-bit integers for vLLM (compressed-tensors, W8A8)",
        made="8-bit integers of the merged weights, a scale per row; activations a scale per token, while it runs",
        where=_SERVER,
        run_with="vLLM",
        needs="compressed-tensors",
        served=True,
    ),
    "gptq": Held(
        suffix="-GPTQ",
        holds="folder",
        loader="transformers",
        tags=("gptq", "4-bit"),
        title="GPTQ weights, 4 bit (vLLM, transformers)",
        lead="weights in 4 bit by GPTQ, for vLLM, SGLang and transformers with gptqmodel",
        made="GPTQ of the merged weights by gptqmodel, 4 bit, calibrated on text of the variant's own kind",
        where=f"{_SERVER} and little memory",
        run_with="vLLM, SGLang",
        needs="gptqmodel optimum",
        served=True,
    ),
    "awq": Held(
        suffix="-AWQ",
        holds="folder",
        loader="transformers",
        tags=("awq", "4-bit"),
        title="AWQ weights, 4 bit (vLLM, transformers)",
        lead="weights in 4 bit by AWQ, for vLLM, SGLang and transformers with gptqmodel",
        made="AWQ of the merged weights by gptqmodel, 4 bit, calibrated on text of the variant's own kind",
        where=f"{_SERVER} and little memory",
        run_with="vLLM, SGLang",
        needs="gptqmodel optimum",
        served=True,
    ),
}

if TYPE_CHECKING:
    Form = str
else:
    Form = Literal[tuple(FORMS)]  # what a family file may name: exactly the rows
