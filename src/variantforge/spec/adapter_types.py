"""Which types of adapter there are, and what may be written for each: asked while planning, without importing PEFT.

Types of the LoRA family have names of their own here and share the short keys ``r``, ``alpha``, ``dropout``; any other
type is a folder of PEFT's tuners, and its config class says what ``args`` it takes (see ``class_sources``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from variantforge.errors import UsageError
from variantforge.registry import near
from variantforge.spec.class_sources import Field, SourceMissing, Sources
from variantforge.spec.family import LORA_FAMILY, AdapterSpec
from variantforge.spec.trainer_args import value_problem
from variantforge.spec.words import listed, not_an_option

Told = tuple[tuple[str, ...], str]  # (keys under ``adapter``, sentence)

FULL = "full"
SHORT = ("r", "alpha", "dropout")  # of the LoRA family
ALL_EXPERTS = "all-experts"

_TOKENS = "it learns vectors that are put before the input, not weights"
NOT_MERGED = {
    "prompt_tuning": _TOKENS,
    "multitask_prompt_tuning": _TOKENS,
    "p_tuning": _TOKENS,
    "prefix_tuning": _TOKENS,
    "cpt": _TOKENS,
    "cartridge": _TOKENS,
    "adaption_prompt": "it adds attention of its own beside the base's",
    "poly": "which of its matrices are used depends on the task of each row",
    "xlora": "it mixes adapters anew for each input",
    "lily": "which of its matrices are used depends on each input",
    "shadow": "it runs a second, smaller network beside the base",
}
NOT_HERE = {
    "adalora": "it moves ranks between layers in every step, which is not part of our checkpoints; a plain lora with "
    "args.rank_pattern sets ranks by hand",
}

_OURS = "variantforge sets it itself"
_WANTS_ROWS = "it wants rows run through the base before training, which is not done here"
OWNED = {
    **dict.fromkeys(("peft_type", "task_type", "auto_mapping", "peft_version", "inference_mode", "revision"), _OURS),
    "base_model_name_or_path": _OURS,
    "target_modules": "write it beside 'args', not into it",
    "exclude_modules": "write it beside 'args', not into it",
    "target_parameters": "write it beside 'args', not into it",
    "modules_to_save": "write it beside 'args', not into it",
    "lora_alpha": "write alpha beside 'args'",
    "lora_dropout": "write dropout beside 'args'",
    "use_dora": "write type: dora",
    "eva_config": _WANTS_ROWS,
    "corda_config": _WANTS_ROWS,
    "lora_ga_config": _WANTS_ROWS,
    "loftq_config": "it changes the base's weights into others that the adapter would be bound to",
    "layer_replication": "the merged model would have other layers than its base",
    "alora_invocation_tokens": "it works on some tokens only, so it cannot be merged",
    "arrow_config": "it mixes adapters anew for each input, so it cannot be merged",
    "use_qalora": "it wants a base in GPTQ",
    "qalora_group_size": "it wants a base in GPTQ",
    "megatron_config": "models of Megatron are not trained here",
    "megatron_core": "models of Megatron are not trained here",
    "runtime_config": _OURS,
    "trainable_token_indices": "single rows of the embedding are not trained; write modules_to_save: [embed_tokens]",
}
_INITS_REFUSED = {
    "eva": _WANTS_ROWS,
    "corda": _WANTS_ROWS,
    "lora_ga": _WANTS_ROWS,
    "loftq": OWNED["loftq_config"],
}


_read_from: dict[str, list[Path]] = {}  # type -> the sources its fields were read from


def sources_read() -> list[Path]:
    """The files of PEFT that checking adapters has rested on so far."""
    return list(dict.fromkeys(path for files in _read_from.values() for path in files))


@cache
def peft_types() -> tuple[str, ...]:
    """The types that the installed PEFT knows, by their names in lower case; none where it is not installed."""
    folder = _tuners()
    found = folder.glob("*/__init__.py") if folder else ()
    _read_from[""] = [folder.parent / "__init__.py"] if folder else []
    return tuple(sorted(path.parent.name for path in found if "register_peft_method" in path.read_text()))


def _tuners() -> Path | None:
    spec = find_spec("peft")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "tuners" if places else None


def known_types() -> list[str]:
    """What may be written as ``type``."""
    others = [name for name in peft_types() if name not in (*LORA_FAMILY, *NOT_MERGED, *NOT_HERE)]
    return [*LORA_FAMILY, FULL, *others]


@cache
def config_fields(type: str) -> tuple[str, dict[str, Field]]:
    """The name of a type's config class in PEFT, and its fields. Raises UsageError when the sources are not there."""
    name = "lora" if type in LORA_FAMILY else type
    sources = Sources()
    try:
        config_class = _config_class(name)
        fields = sources.fields(f"peft.tuners.{name}", config_class)
    except (SourceMissing, OSError, SyntaxError) as error:
        raise UsageError(
            f"cannot check train.adapter: the sources of PEFT's '{name}' cannot be read",
            why=str(error),
            next="pip install 'peft>=0.21'",
        ) from error
    _read_from[name] = sources.files
    return config_class, fields


def _config_class(name: str) -> str:
    """What ``register_peft_method(config_cls=...)`` names in the package of a tuner."""
    folder = _tuners()
    if folder is None:
        raise SourceMissing("peft is not installed")
    for node in ast.walk(ast.parse((folder / name / "__init__.py").read_bytes())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "register_peft_method":
            for keyword in node.keywords:
                if keyword.arg == "config_cls":
                    return ast.unparse(keyword.value)
    raise SourceMissing(f"{folder / name} registers no config class")


@cache
def over_nf4(type: str) -> bool:
    """Whether PEFT has layers of this type for a base in NF4."""
    folder = _tuners()
    path = folder / ("lora" if type in LORA_FAMILY else type) / "bnb.py" if folder else None
    return path is not None and path.is_file() and "class" in (text := path.read_text()) and "Linear4bit(" in text


def adapter_problems(own: Mapping[str, Any], around: Mapping[str, Any]) -> Iterator[Told]:
    """What cannot stay as it is: ``own`` as written in one place, over ``around``, what it inherits."""
    type = own.get("type", around.get("type", "lora"))
    if not isinstance(type, str):
        return
    if why := NOT_MERGED.get(type):
        yield ("type",), f"'{type}' cannot be merged into weights, which is what ships: {why}"
    elif why := NOT_HERE.get(type):
        yield ("type",), f"'{type}' is not trained here: {why}"
    elif type not in known_types():
        yield ("type",), _unknown_type(type)
    else:
        yield from _keys(type, own)
        yield from _patterns(own)
        yield from _args(type, own.get("args"))
        yield from _together(type, own, {**around, **own} if _inherits(own, around) else own)


def _unknown_type(type: str) -> str:
    if not peft_types():
        return not_an_option(type, [*LORA_FAMILY, FULL]) + " PEFT, which has more, is not installed."
    return f"{not_an_option(type, known_types())} Known are {listed([*LORA_FAMILY, FULL])}, and PEFT's types."


def _inherits(own: Mapping[str, Any], around: Mapping[str, Any]) -> bool:
    """As ``inherit`` does it: a type of another config class starts from nothing."""
    kinds = {kind if kind not in (*LORA_FAMILY, FULL) else "lora" for kind in _types(own, around)}
    return len(kinds) == 1


def _types(own: Mapping[str, Any], around: Mapping[str, Any]) -> tuple[Any, Any]:
    inherited = around.get("type", "lora")
    return own.get("type", inherited), inherited


def _keys(type: str, own: Mapping[str, Any]) -> Iterator[Told]:
    """Keys that the type does not read."""
    written = [key for key in own if key in AdapterSpec.model_fields and key != "type"]
    if type == FULL:
        yield from (
            ((key,), "has no meaning for 'full': all weights are trained, without an adapter") for key in written
        )
    elif type not in LORA_FAMILY:
        config_class, fields = config_fields(type)
        for key in written:
            if key in SHORT:
                takes = ", ".join(name for name in fields if name not in OWNED)
                yield (key,), f"is a key of the LoRA family; what '{type}' takes goes under args: {takes}"
            elif key not in ("args", "experts", "quantize_base") and key not in fields:
                yield (key,), f"'{type}' does not have it: PEFT's {config_class} has no such field"
    if own.get("target_parameters") not in (None, ALL_EXPERTS) and isinstance(own["target_parameters"], str):
        yield ("target_parameters",), f"a list of parameters is wanted here, or '{ALL_EXPERTS}'"


def _patterns(own: Mapping[str, Any]) -> Iterator[Told]:
    """Names of modules that can be none, whatever the base is."""
    for key in ("target_modules", "exclude_modules"):
        value = own.get(key)
        if value == "" or (isinstance(value, list) and "" in value):
            yield (key,), "an empty text names no module: remove it"
        elif isinstance(value, str):
            try:
                re.compile(value)
            except re.error as error:
                yield (key,), f"a text is read as a regular expression, and this is none: {error}"


def _args(type: str, args: Any) -> Iterator[Told]:
    if not args or not isinstance(args, dict) or type == FULL:
        return
    config_class, fields = config_fields(type)
    lora = type in LORA_FAMILY
    refused = OWNED | ({"r": "write r beside 'args'"} if lora else {})
    for name, value in args.items():
        # names that only LoRA has shorter forms for mean themselves elsewhere
        why = refused.get(name) if lora or name not in ("lora_alpha", "lora_dropout", "use_dora") else None
        if name in fields and why:
            yield ("args", name), f"cannot be set here: {why}"
        elif name not in fields:
            free = [known for known in fields if known not in refused]
            yield ("args", name), f"unknown field of PEFT's {config_class}.{near(name, free)}"
        elif name == "init_lora_weights" and isinstance(value, str):
            yield from _init(value, fields[name])
        elif sentence := value_problem(fields[name], value):
            yield ("args", name), sentence


def _init(value: str, field: Field) -> Iterator[Told]:
    plain = [choice for choice in field.choices if choice not in _INITS_REFUSED and "[" not in choice]
    if why := _INITS_REFUSED.get(value):
        yield ("args", "init_lora_weights"), f"'{value}' cannot be used: {why}"
    elif value not in plain and not re.fullmatch(r"pissa_niter_\d+", value):
        yield ("args", "init_lora_weights"), not_an_option(value, [*plain, "pissa_niter_16"])


def _together(type: str, own: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Told]:
    """Keys that exclude each other; told at the key that is written here."""
    args = whole.get("args") if isinstance(whole.get("args"), dict) else {}
    lora, nf4 = type in LORA_FAMILY, type == "qlora" or whole.get("quantize_base") == "nf4"
    init = AdapterSpec.init_of(type, args or {})
    at = next(((key,) for key in ("quantize_base", "target_parameters", "args", "type") if key in own), ("type",))
    if type != FULL and whole.get("target_modules") == [] and not whole.get("target_parameters"):
        yield ("target_modules",) if "target_modules" in own else at, "names no module: nothing would be trained"
    if nf4 and type != FULL and not over_nf4(type):
        yield at, f"PEFT has no '{type}' over a base in NF4"
    if nf4 and AdapterSpec.rewrites(init):
        yield at, f"'{init}' takes a part out of the base's weights, which a base in NF4 cannot give"
    if lora and AdapterSpec.rewrites(init):
        if type == "dora":
            yield at, f"'{init}' takes a part out of the base's weights, whose lengths dora trains: use one of them"
        for name in ("rank_pattern", "alpha_pattern"):
            if (args or {}).get(name):
                yield at, f"'{init}' and {name} exclude each other: the adapter could not be saved over its base"
    if lora and whole.get("target_parameters"):
        if type == "dora":
            yield at, "dora does not train target_parameters: use lora or rslora for experts"
        if AdapterSpec.rewrites(init):
            yield at, f"'{init}' does not start target_parameters: use lora or rslora for experts"
        if whole.get("dropout"):
            yield at, "PEFT trains parameters without dropout: set dropout: 0.0"
    if type == "pissa" and "init_lora_weights" in (args or {}) and not str(init).startswith("pissa"):
        yield ("args", "init_lora_weights"), "type: pissa says how the matrices start: remove it, or write type: lora"
    for name, means in (("rslora", "use_rslora"),):
        if type == name and (args or {}).get(means) is False:
            yield ("args", means), f"type: {name} says the opposite: write type: lora"
