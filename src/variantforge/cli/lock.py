"""``vf lock``: write down what the names in the family file stand for. Plan and apply tell by it what has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.opening import Opened, open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again, shown
from variantforge.cli.output import Output
from variantforge.cli.words import counted
from variantforge.errors import NotAsLocked

if TYPE_CHECKING:
    from variantforge.release.lock.fit import Misfit
    from variantforge.release.lock.record import Change, Lock

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf lock                                of ./family.yaml; names that are locked stay where they are
  vf lock --upgrade base                 take the base's newest commit, touch nothing else
  vf lock --upgrade data --upgrade tools
  vf lock --check                        exit 4 when the lock does not fit: for CI
  vf lock --check --upgrade base         exit 4 when the base has moved
"""  # fmt: skip


class Upgrade(StrEnum):
    base = "base"
    data = "data"
    tools = "tools"


@app.command(epilog=_EXAMPLES)
def lock(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    upgrade: Annotated[
        list[Upgrade] | None, typer.Option(help="Take up what this part stands for now; repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 4 when the lock does not fit.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Write variantforge.lock: commits, digests and versions that every name of the family stands for.

    What is locked stays: plan and apply take bases and data at the locked commits. --upgrade moves a part of it.
    """
    from variantforge.release.lock import lock_path
    from variantforge.release.lock.facts import now
    from variantforge.release.lock.fit import misfits, refuse_swapped
    from variantforge.release.lock.record import Lock
    from variantforge.release.lock.text import write_lock

    out: Output = ctx.obj
    parts = [part.value for part in dict.fromkeys(upgrade or ())]
    opened = open_family(file, store, out, moving=parts)
    path, held = lock_path(opened.file.path), opened.lock or Lock()
    wanted = held.moved_to(now(opened.file.spec, opened.plan, held, parts, tell=out.note), parts)
    changes, left = list(held.changes_to(wanted)), misfits(wanted, opened.file.spec, opened.plan)
    refuse_swapped(left, again(out, "lock", file))
    written = (bool(changes) or opened.lock is None) and not check
    if written:
        write_lock(path, wanted)
    if as_json:
        out.json(_document(path, changes, left, written))
    _write(out, path, wanted, changes, written)
    write_misfits(out, left, file)
    if check and (changes or left):
        parted = "".join(
            f" --upgrade {part}" for part in dict.fromkeys([*parts, *(one.upgrade for one in left)]) if part
        )
        raise NotAsLocked(f"{shown(path)} does not fit the family", next=again(out, "lock", file) + parted)


def _write(out: Output, path: Path, wanted: Lock, changes: Sequence[Change], written: bool) -> None:
    contents = ", ".join([f"{len(wanted.base)} base", f"{len(wanted.data)} data", counted(len(wanted.tools), "tool")])
    if not changes:
        out.line(("nothing to do:", "ok"), f"{shown(path)} has them all: {contents}")
        return
    out.line(("wrote" if written else "would change:", "bold"), f"{shown(path)}: {contents}")
    out.table([(one.word, one.section, one.name, _from_to(one)) for one in changes])


def _from_to(change: Change) -> str:
    return " → ".join(value for value in (change.old, change.new) if value)


def _document(path: Path, changes: Sequence[Change], left: Sequence[Misfit], written: bool) -> dict[str, Any]:
    return {
        "file": str(path),
        "written": written,
        "changes": [{"change": one.word, **one._asdict()} for one in changes],
        "misfits": [vars(one) for one in left],
    }


@dataclass(frozen=True)
class LockState:
    """How the world differs from a family's lock. ``unreachable``: why the Hub could not be asked ('' when it was, or
    when there was nothing to ask)."""

    path: Path
    misfits: tuple[Misfit, ...]
    unreachable: str

    @property
    def document(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "misfits": [vars(one) for one in self.misfits],
            "hub_unreachable": self.unreachable,
        }


def look_at_lock(opened: Opened, file: Path, out: Output, *, offline: bool, frozen: bool = False) -> LockState | None:
    """What has moved since the lock was written; None for a family without one.

    Raises IntegrityError for a name with other bytes than were locked under it, and with ``frozen`` NotAsLocked for
    everything else that is not locked or not as locked.
    """
    if opened.lock is None:
        return None
    from variantforge.release.lock import lock_path
    from variantforge.release.lock.fit import HubAnswer, ask_hub, misfits, refuse_misfits, refuse_swapped

    command = again(out, "lock", file)
    found = misfits(opened.lock, opened.file.spec, opened.plan)
    refuse_swapped(found, command)
    if frozen:
        refuse_misfits(found, command)
    answer = HubAnswer() if offline else ask_hub(opened.lock, opened.file.spec, opened.plan)
    refuse_swapped(answer.misfits, command)
    return LockState(lock_path(opened.file.path), (*found, *answer.misfits), answer.unreachable)


def write_lock_state(out: Output, state: LockState | None, file: Path) -> None:
    """The state for people: a line for each name that has moved, nothing for a lock that fits."""
    if state is None:
        return
    write_misfits(out, state.misfits, file)
    if state.unreachable:
        out.line((f"lock: the Hub could not be asked what has moved ({state.unreachable})", "dim"))


def write_misfits(out: Output, found: Sequence[Misfit], file: Path) -> None:
    for one in found:
        remedy = [] if one.kind == "hidden" else [again(out, "lock", file)]
        if remedy and one.upgrade:
            remedy.append(f"--upgrade {one.upgrade}")
        out.line((f"{one.subject}:", "yellow"), "; ".join(part for part in (one.text, " ".join(remedy)) if part))
