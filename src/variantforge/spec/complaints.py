"""pydantic's errors told in plain sentences, each at the key path that the user wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from variantforge.registry import near
from variantforge.spec.adapter_types import config_fields
from variantforge.spec.family import AdapterSpec, DefaultsSpec, FamilySpec, TrainSpec, VariantSpec
from variantforge.spec.form import Model, description_of, home_of, keys_of, section_at
from variantforge.spec.owned_args import owned
from variantforge.spec.places import Places, spell_path
from variantforge.spec.trainer_args import trainer_arguments
from variantforge.spec.words import describe, listed, not_an_option
from variantforge.spec.yaml_events import Complaint, KeyPath

# pydantic's error type -> what is wanted
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "none_required": "nothing",
}
# pydantic's error type -> the words, and where its context keeps the limit
_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def complaints_of(error: ValidationError, places: Places) -> list[Complaint]:
    """One complaint per key path. What hangs on a value the file did not give is left out."""
    by_path: dict[KeyPath, list[Any]] = {}
    for detail in error.errors(include_url=False):
        path = written_path(detail["loc"], places)
        lacks = detail["type"] == "missing" and places.gaps(path[:-1])
        half_known = detail["type"] == "value_error" and places.holds_unread(path)
        if not (lacks or half_known or places.unread(path)):
            by_path.setdefault(path, []).append(detail)
    parents = {path[:length] for path in by_path for length in range(len(path))}
    for path in parents & by_path.keys():
        if by_path[path][0]["type"] in _WANTED:  # a union's other member, not meant: "text", where a list is written
            del by_path[path]
    meant = {(*path[:-1], _nearest(path, places)) for path, details in by_path.items() if _is_unknown_key(details)}
    return [
        _complaint(path, details, places)
        for path, details in by_path.items()
        if not (details[0]["type"] == "missing" and path in meant)  # its misspelling is told already
    ]


def written_path(loc: Sequence[str | int], places: Places) -> KeyPath:
    """pydantic's location without what the user did not write: tags of a union's members, ``[key]``."""
    if loc[:1] == ("datasets",) and len(loc) > 2 and loc[2] != "[key]":
        loc = (*loc[:2], *loc[3:])  # "rows" or "source": the form that was meant
    path: list[str | int] = []
    value = places.root.value
    for part in loc:
        if isinstance(value, dict) and isinstance(part, str) and not (part == "[key]" and part not in value):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _is_unknown_key(details: Sequence[Any]) -> bool:
    return bool(details[0]["type"] == "extra_forbidden")


def _complaint(path: KeyPath, details: Sequence[Any], places: Places) -> Complaint:
    first = details[0]
    if _is_unknown_key(details):
        return Complaint(places.mark(path, at_key=True), path, _unknown_key(path, places))
    if first["type"] == "missing":
        section = section_at(path[:-1], places.root.value)
        text = f"missing: {description_of(section, path[-1])}".removesuffix(": ")
        return Complaint(places.mark(path[:-1], at_key=True), path, text)
    at_key = first["loc"][-1:] == ("[key]",)
    wanted = [_WANTED[detail["type"]] for detail in details if detail["type"] in _WANTED]
    if len(wanted) == len(details):
        text = f"{' or '.join(dict.fromkeys(wanted))} is wanted here, not {describe(first['input'])}{_hint(first)}"
    else:
        text = _sentence(next(detail for detail in details if detail["type"] not in _WANTED))
    return Complaint(places.mark(path, at_key=at_key), path, text)


def sentence_of(detail: Any) -> str:
    """One of pydantic's errors as a sentence, for models that are checked by themselves (an evaluator's Params)."""
    if detail["type"] in _WANTED:
        return f"{_WANTED[detail['type']]} is wanted here, not {describe(detail['input'])}{_hint(detail)}"
    return _sentence(detail)


def _hint(detail: Any) -> str:
    if detail["type"] == "bool_type" and str(detail["input"]).lower() in ("yes", "no", "on", "off"):
        return " (YAML 1.2 knows true and false only)"
    return ""


def _sentence(detail: Any) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return not_an_option(value, _options(context["expected"]))
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        return f"{describe(value)} is out of range: {words} {context[limit]:g} is wanted"
    if kind == "string_pattern_mismatch":
        return _pattern_sentence(value, context["pattern"])
    if kind == "string_too_long":
        return f"{describe(value)} is too long: at most {context['max_length']} characters"
    if kind == "too_short":
        return "empty: at least one is wanted"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"


_PATTERNS = {  # the first row that fits is told
    "^[A-Za-z0-9]*(": "letters, digits, '.', '_', '-' and {family} are wanted",
    "^[a-z0-9]": "a name is written with a-z, 0-9, '.', '_' and '-', and starts with a letter or a digit",
    "^[A-Za-z0-9]": "letters, digits, '.', '_' and '-' are wanted, and a letter or a digit first",
    r"^\d+\.": "a version like 1.2.0 is wanted",
}


def _pattern_sentence(value: Any, pattern: str) -> str:
    rule = next((rule for start, rule in _PATTERNS.items() if pattern.startswith(start)), f"it must match {pattern}")
    return f"{describe(value)} does not fit: {rule}"


def _options(expected: str) -> list[str]:
    """pydantic's ``"'a', 'b' or 'c'"`` -> the options."""
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def _unknown_key(path: KeyPath, places: Places) -> str:
    hint = _near(path, places)
    if hint:
        return f"unknown key.{hint}"
    section, name = section_at(path[:-1], places.root.value), str(path[-1])
    if section is AdapterSpec and name in config_fields("lora")[1]:
        return "unknown key. It is a field of PEFT's LoraConfig: put it under args."
    if section in _ARGS and name in trainer_arguments("sft") and not owned(name):
        return f"unknown key. It is an argument of TRL: put it under {_ARGS[section]}."
    home = home_of(path)
    advice = f" It belongs under {spell_path(home)}." if home else ""
    return f"unknown key.{advice} Known: {listed(keys_of(section))}."


# From which section a trainer's argument that was put there by mistake should move, and where to
_ARGS: dict[Model | None, str] = {
    FamilySpec: "defaults.train.args",
    DefaultsSpec: "train.args",
    VariantSpec: "train.args",
    TrainSpec: "args",
    AdapterSpec: "train.args",
}


def _near(path: KeyPath, places: Places) -> str:
    section = section_at(path[:-1], places.root.value)
    return near(str(path[-1]), keys_of(section)) if section else ""


def _nearest(path: KeyPath, places: Places) -> str:
    """The key an unknown one seems to mean, or ''."""
    return _near(path, places).partition("'")[2].partition("'")[0]
