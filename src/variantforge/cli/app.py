"""The commands ``variantforge`` and ``vf``. Each command is the module of its name in this folder.

A command parses, calls one library function, and hands what it returns to the output. It returns its exit code.
``main`` is the one place where an error becomes text.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from variantforge import __version__
from variantforge.cli.options import EXAMPLES_HEADING, STYLE
from variantforge.cli.output import Output
from variantforge.errors import Interrupted, UsageError, VariantforgeError
from variantforge.redact import redacted

COMMANDS = (
    *("init", "check", "data", "plan", "apply", "lock", "show", "report", "compare"),
    *("drift", "promote", "rollback", "retire", "import", "verify"),
    *("doctor", "schema"),
)
_EXAMPLES = EXAMPLES_HEADING + """
  vf init                      write a family file to start from
  vf plan                      what would run, and why
  vf apply                     do it
  vf show                      what there is, how good it is, where it lies
"""  # fmt: skip


class CommandFolder(TyperGroup):
    """The commands of this folder, each imported when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        return typer.main.get_command(import_module(f"variantforge.cli.{module}").app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from variantforge.registry import near

            hint = near(args[0], list(COMMANDS)) or f" Commands: {', '.join(COMMANDS)}."
            raise UsageError(f"no command '{args[0]}'.{hint}", next=ctx.obj.command("--help"))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped", next=f"{ctx.obj.same_command}   # goes on from here") from None


app = typer.Typer(cls=CommandFolder, no_args_is_help=True, epilog=_EXAMPLES, **{**STYLE, "add_completion": True})


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"variantforge {__version__}\n")
        raise typer.Exit


@app.callback()
def variantforge(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Declare a family of fine-tuned model variants in one file; keep reality equal to it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (``sys.argv`` by default) and returns its exit code; never raises, but for SystemExit."""
    gc.set_threshold(1_000_000)  # starting up makes many objects and no garbage: looking for it costs 5 %
    atexit.register(gc.freeze)  # nor need it be looked for when leaving: the system takes all memory back
    arguments = list(sys.argv[1:] if argv is None else argv)
    out = Output(arguments, _program())
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    try:
        return int(app(arguments, prog_name=out.program, standalone_mode=False, obj=out) or 0)
    except typer.TyperException as error:
        return _misused(out, error)
    except VariantforgeError as error:
        failure = error
    except Exception as error:
        failure = _unexpected(error, out)
    if isinstance(failure, UsageError):
        failure.next = failure.next or _help(out)
    out.error(failure)
    return failure.exit_code


def _program() -> str:
    name = Path(sys.argv[0]).name
    return name if name in ("vf", "variantforge") else "vf"


def _misused(out: Output, error: typer.TyperException) -> int:
    """What the parser said, as our letter; a bare ``vf`` gets the help it asked for."""
    if type(error).__name__ == "NoArgsIsHelpError":
        out.note(error.message)
        return 2
    out.error(UsageError(error.format_message(), next=_help(out)))
    return 2


def _help(out: Output) -> str:
    return out.command(*(word for word in out.argv[:1] if word in COMMANDS), "--help")


def _unexpected(error: Exception, out: Output) -> VariantforgeError:
    """A failure nobody named. Told as a letter too; the trace is one environment variable away."""
    if os.environ.get("VARIANTFORGE_TRACEBACK"):
        sys.stderr.write(redacted("".join(traceback.format_exception(error))))
    if isinstance(error, OSError) and error.strerror and error.filename:
        look = f"ls -ld {Path(str(error.filename)).parent}"
        return VariantforgeError(f"{error.filename}: {error.strerror}", next=f"{look}; then {out.same_command}")
    trace, last = error.__traceback__, "?"
    while trace:
        last = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno} in {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return VariantforgeError(
        f"{type(error).__name__}: {error}",
        why=f"Nobody expected this failure (at {last}); it is a bug of variantforge or of a library it uses.",
        next=f"VARIANTFORGE_TRACEBACK=1 {out.same_command}   # shows the whole trace; please report it",
    )
