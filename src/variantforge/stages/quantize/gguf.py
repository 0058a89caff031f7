"""``gguf:TYPE``: one file that llama.cpp and all that is built on it can run.

All types of a variant are rounded from one 16-bit file (``gguf:source``), which llama.cpp's converter makes once.
Where the variant declares ``calibration``, types that read an importance matrix take in that of the step ``imatrix``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted, QuantizeError
from variantforge.fsops import link_or_copy
from variantforge.spec.family import VariantSpec
from variantforge.stages.quantize.calibration import calibration_input
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_mix import choose_types
from variantforge.stages.quantize.gguf_source import convert
from variantforge.stages.quantize.gguf_types import FILE_TYPES, TYPES
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.stages.quantize.imatrix import FILE as IMATRIX_FILE
from variantforge.stages.quantize.imatrix import read_imatrix
from variantforge.stages.quantize.importance import compute_importance
from variantforge.stages.quantize.llama_cpp import QUANTIZE, find_quantize, run_tool
from variantforge.stages.quantize.machine import Answer, Machine, rests_on
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.read import as_float32
from variantforge.stages.stage import Desk, Place
from variantforge.step import StepContext

FILE = "model.gguf"
SOURCE, IMATRIX = "source", "imatrix"  # types of steps that the others start from
_SAMPLED_ROWS = 8  # of each tensor, from its beginning and from its end


class Gguf:
    types = tuple(FILE_TYPES)

    def answer(self, machine: Machine) -> Answer:
        return rests_on(machine, "libgguf", "gguf")

    def lacks(self, variant: VariantSpec, type: str) -> str:
        if variant.calibration or FILE_TYPES[type].imatrix != "needs":
            return ""
        return (
            f"{type} has so few bits that it must know which weights matter: declare text to calibrate with beside "
            "'quantize', e.g. calibration: {tokens: 131072}"
        )

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str] | None:
        base, model = desk.step(Place("base", variant)), desk.step(Place("merge", variant))
        if base is None or model is None:
            return None
        step = quantize_step("gguf", SOURCE, {"model": model.key, "base": base.key})
        source = desk.add(Place("quantize", variant, f"gguf:{SOURCE}"), step)
        if not FILE_TYPES[type].imatrix or desk.family.variants[variant].calibration is None:
            return {"source": source.key}
        text = calibration_input(desk, variant)
        if not text:
            return None
        step = quantize_step("gguf", IMATRIX, {"model": model.key, "source": source.key, **text})
        return {"source": source.key, IMATRIX: desk.add(Place("quantize", variant, IMATRIX), step).key}

    def do(self, context: StepContext) -> None:
        type, target = context.step.params["type"], context.out / FILE
        if type == SOURCE:
            context.write_facts(_facts(type, convert(context, target)))
        elif type == IMATRIX:
            compute_importance(context, GgufFile.open(context.inputs["source"].path / FILE))
        else:
            context.write_facts(_quantized(context, type, target))


def _quantized(context: StepContext, type: str, target: Path) -> dict[str, Any]:
    """Makes the file and proves it; returns its facts."""
    source = GgufFile.open(context.inputs["source"].path / FILE)
    importance = context.inputs.get(IMATRIX)
    _quantize(source, target, type, context)
    file = GgufFile.open(target)
    _check_inventory(file, source, type, context)
    _tell_stand_ins(file, type, context)
    told = {"calibration_tokens": importance.facts["tokens"]} if importance else {}
    return {**_facts(type, file), **told}


def _facts(type: str, file: GgufFile) -> dict[str, Any]:
    _check_finite(file)
    return {
        "format": f"gguf:{type}",
        "file": FILE,
        "size_bytes": file.path.stat().st_size,
        "bits_per_weight": round(file.bits_per_weight, 4),
        "tensor_types": dict(sorted(Counter(tensor.type for tensor in file.tensors.values()).items())),
    }


def _quantize(source: GgufFile, target: Path, type: str, context: StepContext) -> None:
    """With ``llama-quantize`` when it is there, else in process; the bytes are the same."""
    program, importance = find_quantize(), context.inputs.get(IMATRIX)
    imatrix = importance.path / IMATRIX_FILE if importance else None
    if type == "BF16":
        link_or_copy(source.path, target)
    elif program:
        context.note(f"quantized with {QUANTIZE}")
        _run_quantize(program, source, target, type, imatrix, context)
    else:
        context.note("quantized in process with libgguf")
        read = read_imatrix(imatrix) if imatrix else None
        quantize_file(source, target, type, lambda done, total: _went_on(context, done, total), read)


def _went_on(context: StepContext, done: int, total: int) -> None:
    context.progress(done, total, "tensor")
    if context.stopping():
        raise Interrupted(f"stopped while making {context.label or 'a GGUF file'}")


def _run_quantize(
    program: Path, source: GgufFile, target: Path, type: str, imatrix: Path | None, context: StepContext
) -> None:
    def watch(line: str) -> None:
        if counted := re.match(r"\[\s*(\d+)/\s*(\d+)\]", line):
            context.progress(int(counted[1]), int(counted[2]), "tensor")

    weighed = ["--imatrix", imatrix.name] if imatrix else []  # the file tells the path as it is given here
    folder = imatrix.parent if imatrix else None
    if last_lines := run_tool([program, *weighed, source.path, target, type], context, watch, folder=folder):
        raise QuantizeError(
            f"{QUANTIZE} failed",
            why="\n".join(last_lines),
            next=f"use a newer llama.cpp, or take {QUANTIZE} off PATH and LLAMA_CPP_DIR to quantize in process",
        )


def _check_inventory(file: GgufFile, source: GgufFile, type: str, context: StepContext) -> None:
    """Every tensor of the source is there in its shape, the template too; types other than ours are told."""
    for name, tensor in source.tensors.items():
        if name not in file.tensors or file.tensors[name].elements != tensor.elements:
            raise QuantizeError(f"{FILE} lacks the tensor {name}, or holds it in another shape", next="run it again")
    if file.chat_template != source.chat_template:
        raise QuantizeError(f"{FILE} lost the chat template", next="run it again")
    guided = IMATRIX in context.inputs
    chosen = choose_types(type, source.shape, source.tensors.values(), imatrix=guided)
    if differing := [name for name, kind in chosen.items() if file.tensors[name].type != kind]:
        context.note(f"this {QUANTIZE} chose other types than usual for {len(differing)} tensors, e.g. {differing[0]}")


def _tell_stand_ins(file: GgufFile, type: str, context: StepContext) -> None:
    """K-quants need rows that their blocks divide; other tensors grow larger than a user expects."""
    block = TYPES[FILE_TYPES[type].usual].block
    narrow = [t for t in file.tensors.values() if t.shape[0] % block and 1 < TYPES[t.type].block < block]
    if narrow:
        kinds = ", ".join(f"{count} as {kind}" for kind, count in sorted(Counter(t.type for t in narrow).items()))
        context.note(
            f"{len(narrow)} of {len(file.tensors)} tensors have rows that {type}'s blocks of {block} do not divide; "
            f"llama.cpp stores them in larger types: {kinds}"
        )


def _check_finite(file: GgufFile) -> None:
    import numpy as np

    for name, tensor in file.tensors.items():
        rows = file.data(name)
        for sample in (rows[:_SAMPLED_ROWS], rows[-_SAMPLED_ROWS:]):
            if not np.isfinite(as_float32(sample, tensor)).all():
                raise QuantizeError(
                    f"{name} holds weights that are not finite in {FILE}",
                    next="choose gguf:BF16; if that fails too, train this variant again",
                )
