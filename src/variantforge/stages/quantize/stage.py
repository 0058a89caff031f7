"""The merged model of a variant, in each format its ``quantize`` list names."""

from __future__ import annotations

from pathlib import Path

from variantforge.registry import near
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.stages.quantize import QUANTIZERS
from variantforge.stages.quantize.calibration import CALIBRATION, write_calibration
from variantforge.stages.quantize.machine import NVIDIA_CARDS, Demanding, Rejected, files_read, look
from variantforge.stages.quantize.quantizer import VERSION, Choosy, quantize_step
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext


class Quantize:
    name = "quantize"
    version = VERSION
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            _tell_unread_defaults(desk)
            return
        inherited = variant.quantize is desk.family.defaults.quantize
        key = "defaults.quantize" if inherited else f"{desk.at_key}.quantize"
        for index, entry in enumerate(variant.quantize):
            if complaint := _complaint(entry) or _rejection(desk, entry) or _lacks(desk, variant, entry):
                desk.problem(f"{key}[{index}]", complaint)
            else:
                _lay_out(desk, name, entry)
        if variant.calibration and desk.family.defaults.calibration is None and not _calibrated(desk, name):
            desk.problem(f"{desk.at_key}.calibration", _UNREAD)

    def do(self, context: StepContext) -> None:
        if context.step.method == CALIBRATION:
            write_calibration(context)
        else:
            QUANTIZERS.load(context.step.method)().do(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _complaint(entry: str) -> str:
    """What is wrong with an entry of ``quantize``, as a sentence; '' when nothing is."""
    method, colon, type = entry.partition(":")
    if method not in QUANTIZERS:
        return QUANTIZERS.unknown(method)
    types = QUANTIZERS.load(method).types
    if not types:
        return f"{method} takes no type: write {method}" if colon else ""
    if not type:
        return f"{method} needs a type, e.g. {method}:{types[0]}."
    if type in types:
        return ""
    known = near(type.upper(), list(types)) or f" Types: {', '.join(types)}."
    return f"{method} has no type '{type}'.{known}"


def _rejection(desk: Desk, entry: str) -> str:
    """Why this machine cannot make an entry, and what to write or type instead; '' when it can."""
    told, read = desk.once(_asked, entry.partition(":")[0])
    for path in read:
        desk.look(path)
    return told


def _asked(family: FamilySpec, method: str) -> tuple[str, tuple[Path, ...]]:
    """What a quantizer says against this machine, and the paths that its answer rests on."""
    quantizer = QUANTIZERS.load(method)()
    if not isinstance(quantizer, Demanding):
        return "", ()
    machine = look()
    answer = quantizer.answer(machine)
    said = f"{answer.reason}: {answer.next}" if isinstance(answer, Rejected) else ""
    return said, (NVIDIA_CARDS, *files_read(machine))


def _lacks(desk: Desk, variant: VariantSpec, entry: str) -> str:
    method, _, type = entry.partition(":")
    choosy = desk.once(_choosy, method)
    return choosy.lacks(variant, type) if choosy else ""


def _choosy(family: FamilySpec, method: str) -> Choosy | None:
    quantizer = QUANTIZERS.load(method)()
    return quantizer if isinstance(quantizer, Choosy) else None


_UNREAD = "none of the formats under 'quantize' reads it: remove it, or add one that does, e.g. gguf:Q4_K_M"


def _calibrated(desk: Desk, name: str) -> bool:
    """Whether some format of a variant reads its calibration, or it cannot be told since it has no merged model."""
    return desk.step(Place("quantize", name, CALIBRATION)) is not None or desk.step(Place("merge", name)) is None


def _tell_unread_defaults(desk: Desk) -> None:
    if desk.family.defaults.calibration and not any(_calibrated(desk, name) for name in desk.family.variants):
        desk.problem("defaults.calibration", _UNREAD)


def _lay_out(desk: Desk, name: str, entry: str) -> None:
    method, _, type = entry.partition(":")
    model = desk.step(Place("merge", name))
    if model is None:
        return
    inputs = QUANTIZERS.load(method)().inputs(desk, name, type)
    if inputs is not None:
        desk.add(Place("quantize", name, entry), quantize_step(method, type, {"model": model.key, **inputs}))


STAGE = Quantize()
