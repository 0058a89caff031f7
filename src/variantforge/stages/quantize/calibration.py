"""The text that quantizers read to see which weights matter: one step a variant, ``quantize/V/calibration``.

Its artifact holds the rows as token ids of the merged model, written by its own chat template, so that every quantizer
of the variant reads the same text, also one that runs in an environment of its own.

A quantizer takes it as an input: ``calibration_input(desk, variant)`` while planning, ``calibration_rows(context)``
while it works.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from variantforge.errors import Interrupted, QuantizeError
from variantforge.fsops import writing
from variantforge.spec.quantize import CalibrationSpec
from variantforge.stages.data.split import rank
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.rows import TRAIN, as_chat
from variantforge.stages.stage import Desk, Place
from variantforge.step import StepContext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

CALIBRATION = "calibration"  # the step's method, its name in the plan, and the role it plays as an input
FILE = "calibration.jsonl"
_OWN, _DATASET = "data", "dataset:"  # roles: the variant's own mix; a dataset by name
_FEWEST_TOKENS = 128


def calibration_input(desk: Desk, variant: str) -> dict[str, str]:
    """``{"calibration": key}`` of the step, laid out at the first asking.

    Empty when the variant declares no calibration, and when an earlier problem keeps it from being planned.
    """
    spec = desk.family.variants[variant].calibration
    model = desk.step(Place("merge", variant))
    if spec is None or model is None:
        return {}
    if spec.datasets:
        places = {f"{_DATASET}{name}": Place("data", None, name) for name in spec.datasets}
    else:
        places = {_OWN: Place("data", variant, "mix")}
    steps = {role: desk.step(place) for role, place in places.items()}
    inputs = {role: step.key for role, step in steps.items() if step}
    if len(inputs) < len(steps):
        return {}
    step = quantize_step(CALIBRATION, "", {"model": model.key, **inputs}, calibration=spec.identity())
    return {CALIBRATION: desk.add(Place("quantize", variant, CALIBRATION), step).key}


def calibration_rows(context: StepContext) -> Iterator[list[int]]:
    """Token ids of each row that ``inputs["calibration"]`` holds, one row at a time."""
    with open(context.inputs[CALIBRATION].path / FILE, "rb") as file:
        for line in file:
            yield json.loads(line)


def write_calibration(context: StepContext) -> None:
    """Does the step: chooses the rows and writes their ids. Raises QuantizeError when there is next to no text."""
    from variantforge.stages.tokens import load_tokenizer

    spec, model = CalibrationSpec(**context.step.params[CALIBRATION]), context.inputs["model"]
    tokenizer, stops = load_tokenizer(model.path / "model"), model.facts["stop_token_ids"]
    shares = {f"{_DATASET}{name}": share for name, share in spec.datasets.items()} or {_OWN: 1.0}
    sources = {role: _tokenized(context.inputs[role].path / TRAIN, spec, tokenizer, stops) for role in shares}
    rows, tokens = 0, 0
    with writing(context.out / FILE) as file:
        for ids in in_shares(sources, shares, spec.tokens):
            file.write(json.dumps(ids, separators=(",", ":")).encode() + b"\n")
            rows, tokens = rows + 1, tokens + len(ids)
            context.progress(tokens, spec.tokens, "token")
            if context.stopping():
                raise Interrupted("stopped while choosing the text to calibrate with")
    _check_enough(context, spec, tokens)
    context.write_facts({"rows": rows, "tokens": tokens})


def in_shares(
    sources: Mapping[str, Iterator[list[int]]], shares: Mapping[str, float], tokens: int
) -> Iterator[list[int]]:
    """Rows of all sources until there are ``tokens`` in all, the last one cut; next comes who lags most behind.

    A source that runs out leaves its share to the others.
    """
    taken, left = dict.fromkeys(shares, 0), tokens
    while left > 0 and taken:
        source = min(taken, key=lambda name: taken[name] / shares[name])
        ids = next(sources[source], None)
        if ids is None:
            del taken[source]
            continue
        yield ids[:left]
        taken[source] += len(ids)
        left -= len(ids)


def _tokenized(path: Path, spec: CalibrationSpec, tokenizer: Tokenizer, stops: Collection[int]) -> Iterator[list[int]]:
    """Rows of a file as ids, each once, in an order that seed and content decide; answers that are labelled bad are
    left out."""
    from variantforge.stages.tokens import tokenize_row

    with open(path, "rb") as file:
        places = _places(file)
        for id in sorted(places, key=lambda id: rank(f"calibration {spec.seed}", id)):
            file.seek(places[id])
            row = json.loads(file.readline())
            if row.get("label", True):
                yield tokenize_row(tokenizer, as_chat(row), stop_ids=stops).ids[: spec.max_length]


def _places(file: IO[bytes]) -> dict[str, int]:
    """Id of each row -> where its line begins: rows themselves would not fit into memory."""
    places, at = {}, 0
    for line in file:
        places[json.loads(line)["id"]] = at
        at += len(line)
    return places


def _check_enough(context: StepContext, spec: CalibrationSpec, tokens: int) -> None:
    if tokens < _FEWEST_TOKENS:
        raise QuantizeError(
            f"there are {tokens} tokens to calibrate with",
            why=f"With fewer than {_FEWEST_TOKENS} nobody can tell which weights matter.",
            next="name larger datasets under calibration.datasets",
        )
    if tokens < spec.tokens:
        context.note(f"calibrates with {tokens:,} tokens: the datasets hold no more ({spec.tokens:,} were asked for)")
