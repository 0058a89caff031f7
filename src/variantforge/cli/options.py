"""What the commands have in common: their options, their help, and words as the user types them."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from variantforge.cli.output import Output
from variantforge.errors import UsageError, VariantforgeError

DEFAULT_FILE = Path("family.yaml")
STORE_FOLDER = ".variantforge"

# Typer's rich help costs 60 ms of imports at every --help; plain text costs none.
STYLE: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}
EXAMPLES_HEADING = "\b\nExamples:"  # \b keeps the help's line breaks


def must_take_a_file(path: Path, example: str) -> None:
    """Raises UsageError where no file can be made: a folder lies there, or a file where a folder would have to be."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", next=f"name the file to write: {example}")
    nearest = next((folder for folder in path.parents if folder.exists()), Path())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file, not a folder", next=f"choose another place to write to: {example}")


def _complete_stage() -> list[str]:
    from variantforge.stages import PIPELINE

    return list(PIPELINE)


def _complete_variant(ctx: typer.Context) -> list[str]:
    from variantforge.spec.load import load_family

    with suppress(VariantforgeError, OSError):
        return list(load_family(Path(ctx.params.get("file") or DEFAULT_FILE)).spec.variants)
    return []


File = Annotated[Path, typer.Argument(metavar="FILE", help="The family file, or the folder of a family.yaml.")]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        envvar="VARIANTFORGE_STORE",
        help="Where results are kept.  [default: .variantforge beside FILE]",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="STAGE", help="Stop after this stage, e.g. train.", autocompletion=_complete_stage),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VARIANT", help="Only this variant and what it needs; repeatable.", autocompletion=_complete_variant
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Do not ask the Hub whether what is locked has moved.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def again(out: Output, command: str, file: Path) -> str:
    """Another command on the same family and store, with FILE and --store only where they were typed."""
    return out.command(command, *([] if file == DEFAULT_FILE else [file]), *typed_store(out))


def typed_store(out: Output) -> list[str]:
    """``--store FOLDER`` as the user typed it, or nothing."""
    for word, after in pairwise([*out.argv, ""]):
        if word == "--store" or word.startswith("--store="):
            return [word, after] if word == "--store" else [word]
    return []


def shown(path: Path) -> str:
    """A path as people would type it: relative where it lies under the current folder."""
    absolute = path.resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
