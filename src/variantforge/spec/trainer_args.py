"""Which arguments the installed TRL takes for a training method, and what may be written for each.

Read from TRL's and transformers' *sources* (see ``class_sources``), which takes a fraction of the seconds that
importing them would; kept as JSON in the user's cache folder for as long as those source files stay as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from variantforge.errors import UsageError, VariantforgeError
from variantforge.fsops import write_json
from variantforge.registry import near
from variantforge.spec.class_sources import Field, SourceMissing, Sources
from variantforge.spec.owned_args import owned
from variantforge.spec.words import describe, not_an_option

# Training method -> its config class in TRL. The single place: the train stage reads it too.
TRAINER_CONFIGS = {
    "sft": "trl:SFTConfig",
    "continued": "trl:SFTConfig",
    "dpo": "trl:DPOConfig",
    "kto": "trl:KTOConfig",
    "orpo": "trl.experimental.orpo:ORPOConfig",
    "distill": "trl:DistillationConfig",
    "grpo": "trl:GRPOConfig",
}

Annotation = Field
_FORMAT = "1"  # of the cached file


_read_from: dict[str, list[Path]] = {}  # config class -> the sources its arguments were read from


def sources_read() -> list[Path]:
    """The files of TRL and transformers that checking arguments has rested on so far."""
    return [path for files in _read_from.values() for path in files]


def config_module(method: str) -> tuple[str, str]:
    """Where a method's config class is: module and name."""
    module, _, name = TRAINER_CONFIGS[method].partition(":")
    return module, name


@cache
def trainer_arguments(method: str) -> dict[str, Annotation]:
    """Name -> annotation of every argument of a method's config class in the installed TRL, inherited ones too.

    Raises UsageError when TRL's sources cannot be found.
    """
    module, config_class = config_module(method)
    path = cache_folder() / f"trainer-args-{_FORMAT}" / f"{config_class}.json"
    cached = _cached(path)
    if cached is not None:
        _read_from[config_class], arguments = cached
        return arguments
    sources = Sources()
    try:
        arguments = sources.fields(module, config_class)
    except (SourceMissing, OSError, SyntaxError) as error:
        raise UsageError(
            f"cannot check train.args: the sources of TRL's {config_class} cannot be read",
            why=str(error),
            next="pip install 'trl>=1.16,<2'",
        ) from error
    _read_from[config_class] = sources.files
    _keep(path, sources.files, arguments)
    return arguments


def cache_folder() -> Path:
    """Where things that can be worked out again are kept: ``$XDG_CACHE_HOME/variantforge``."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path("~/.cache").expanduser()) / "variantforge"


def _cached(path: Path) -> tuple[list[Path], dict[str, Annotation]] | None:
    """The sources and what was kept of them, or None when there is nothing, it is damaged, or a source file has changed
    since."""
    try:
        kept = json.loads(path.read_bytes())
        if not kept["files"] or any(_stamp(Path(file)) != stamp for file, stamp in kept["files"].items()):
            return None
        rows = kept["arguments"].items()
        arguments = {name: Field(str(text), tuple(takes), tuple(choices)) for name, (text, takes, choices) in rows}
        return [Path(file) for file in kept["files"]], arguments
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, files: list[Path], arguments: Mapping[str, Annotation]) -> None:
    # a cache that cannot be written only costs the time to read the sources again
    with suppress(OSError, VariantforgeError):
        write_json(path, {"files": {str(file): _stamp(file) for file in files}, "arguments": dict(arguments)})


def _stamp(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size]


def argument_problems(method: object, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) for every argument that cannot stay as it is. A method that is not known here is passed over."""
    if not args or not isinstance(method, str) or method not in TRAINER_CONFIGS:
        return
    arguments = trainer_arguments(method)
    _, config_class = config_module(method)
    for name, value in args.items():
        if why := owned(name, method):
            yield name, f"cannot be set: {why}"
        elif name not in arguments:
            free = [known for known in arguments if not owned(known, method)]
            yield name, f"unknown argument of TRL's {config_class}.{near(name, free)}"
        elif sentence := value_problem(arguments[name], value) or _out_of_range(name, value):
            yield name, sentence
    if args.get("fp16") is True and args.get("bf16") is True:
        yield "fp16", "fp16 and bf16 exclude each other: remove one"


# What the libraries take, and then break off at, or train nothing with: least value, and whether it may be that itself.
_RANGES: dict[str, tuple[float, bool]] = {
    **dict.fromkeys(("per_device_train_batch_size", "gradient_accumulation_steps", "max_completion_length"), (1, True)),
    **dict.fromkeys(("num_iterations", "steps_per_generation", "generation_batch_size"), (1, True)),
    **dict.fromkeys(("seed", "data_seed", "warmup_steps", "weight_decay", "max_grad_norm"), (0, True)),
    **dict.fromkeys(("learning_rate", "num_train_epochs", "logging_steps", "temperature"), (0, False)),
    "max_length": (2, True),  # of one token nothing is predicted
}
_MOST = {"seed": 2**32 - 1, "data_seed": 2**32 - 1}  # numpy's


def _out_of_range(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if name == "max_steps":
        return "" if value == -1 or value >= 1 else f"at least 1 is wanted here, or -1 for no limit, not {value}"
    least, itself = _RANGES.get(name, (value, True))
    if value < least or (value == least and not itself):
        return f"{'at least' if itself else 'more than'} {least:g} is wanted here, not {value}"
    return f"at most {_MOST[name]} is wanted here, not {value}" if value > _MOST.get(name, value) else ""


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str)),
    "list": ("a list", lambda value: isinstance(value, list)),
    "list[str]": (
        "a list of texts",
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    ),
    "dict": ("a mapping", lambda value: isinstance(value, dict)),
    "any": ("anything", lambda value: True),
    "none": ("null", lambda value: value is None),
}


def value_problem(annotation: Annotation, value: Any) -> str:
    """What is wrong with a value for an argument, or ''. Whole numbers are numbers; nothing else is converted."""
    kinds = [_KINDS[kind] for kind in annotation.takes if kind in _KINDS]
    if not any(fits(value) for _, fits in kinds):
        if "object" in annotation.takes:
            return f"it takes a Python object ({annotation.text}), which a file cannot hold"
        return f"{' or '.join(words for words, _ in kinds)} is wanted here, not {describe(value)}"
    if annotation.choices and isinstance(value, str) and value not in annotation.choices:
        return not_an_option(value, annotation.choices)
    return ""
