"""Opening a family: its file, the store and the lock beside it, and its plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.cli.options import DEFAULT_FILE, STORE_FOLDER, again, shown
from variantforge.cli.output import Output
from variantforge.cli.words import size
from variantforge.errors import HubUnreachable, NotAsLocked, UsageError, VariantforgeError

if TYPE_CHECKING:
    from variantforge.plan.build import Plan
    from variantforge.plan.pin import Resolver
    from variantforge.plan.seen import Seen
    from variantforge.release.lock.record import Lock
    from variantforge.spec.load import FamilyFile
    from variantforge.store.artifacts import Store

PLANS = "plans"  # the folder in the store that keeps plans between runs
PREVIOUS = "previous"  # the folder in the store that keeps what earlier releases on the Hub measured
LONG_READ_BYTES = 1_000_000_000  # about a second of hashing


@dataclass(frozen=True)
class Opened:
    """A family file with its plan, and the store and the lock beside it."""

    file: FamilyFile
    store: Store
    plan: Plan
    lock: Lock | None = None

    @property
    def path(self) -> Path:
        return self.file.path


@dataclass(frozen=True)
class Recalled:
    """A family whose plan is known from an earlier run: of its file, only the bytes were compared."""

    path: Path
    store: Store
    plan: Plan


def family_file(path: Path, out: Output) -> Path:
    """The family file meant by FILE. Raises UsageError, with what to type instead, when there is none."""
    if path.is_dir():
        path = path / DEFAULT_FILE
    if path.exists():
        return path
    others = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    command = out.argv[0] if out.argv else "plan"
    raise UsageError(
        f"there is no {path}",
        why=f"This folder has {', '.join(other.name for other in others[:5])}." if others else "",
        next=out.command(command, others[0]) if others else f"{out.command('init')}   # writes one to start from",
    )


def published_at(file: FamilyFile, params: Mapping[str, Any]) -> str:
    """Where a publish step with these parameters puts its repo: a folder, shown from here where that is shorter."""
    publish, repo = file.spec.publish, str(params.get("repo") or "")
    if publish.to != "folder":
        return repo
    folder = file.path.parent / Path(publish.path).expanduser() / repo.rpartition("/")[2]
    return shown(folder)


def store_of(file: Path, store: Path | None) -> Store:
    from variantforge.store.artifacts import Store

    root = (store or file.parent / STORE_FOLDER).resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file, not a folder for results", next="choose another place with --store")
    return Store(root)


def open_family(
    file: Path,
    store: Path | None,
    out: Output,
    *,
    moving: Collection[str] = (),
    frozen: bool = False,
    remember: bool = False,
    offline: bool = False,
) -> Opened:
    """Loads the family and lays out its plan, names on the Hub at their locked commits but for the parts ``moving``.
    ``offline``: the release before this one is known only if it was asked for earlier.

    Raises SpecError with every problem of the file, with ``frozen`` NotAsLocked where a name is not locked, and
    LicenceRefused where what the family is made of may not be published so.
    """
    from variantforge.plan.build import build_plan
    from variantforge.plan.licensing import licences_of
    from variantforge.plan.pin import Resolver
    from variantforge.spec.load import read_family
    from variantforge.store.forced import FILE as FORCED_FILE
    from variantforge.store.forced import reasons

    path = family_file(file, out)
    loaded, shelf = read_family(path), store_of(path, store)
    lock = _lock_of(loaded, out, file, frozen and not loaded.complaints)
    resolver = Resolver(
        cache=shelf.root / "pins.json",
        hash_file=lambda path: _read_telling(path, out),
        locked=lock.commits(moving) if lock else None,
    )
    try:
        before = known_before(loaded, shelf, out, offline) if not loaded.complaints else None
        resolver.seen.look(shelf.root / FORCED_FILE)
        forced = _forced_there(loaded, resolver) | reasons(shelf.root, loaded.spec.family)
        opened = Opened(loaded, shelf, build_plan(loaded, resolver, before, forced), lock)
        licences = licences_of(opened.plan)
        licences.refuse(path.name)
        notes = licences.notes()
        _tell_licences(notes, out)
        if remember:
            _remember(opened, resolver.seen, notes)
        return opened
    finally:
        with suppress(VariantforgeError, OSError):  # only a cache: a store that cannot be written may still be read
            resolver.close()


def _forced_there(loaded: FamilyFile, resolver: Resolver) -> dict[str, str]:
    """Reasons for which gates were overridden, as the folder tells that the family is published into."""
    publish = loaded.spec.publish
    if publish.to != "folder" or not loaded.spec.gates:
        return {}
    from variantforge.release.forced import forced_in_folder

    root = loaded.path.parent / Path(publish.path).expanduser()
    return forced_in_folder(root, loaded.spec.family, resolver.seen.look)


def known_before(loaded: FamilyFile, shelf: Store, out: Output, offline: bool) -> Path | None:
    """Where the release before this one left what it measured, of a family on the Hub whose gates compare with it."""
    family = loaded.spec
    if family.publish.to != "hub" or not any(gate.vs == "previous" for gate in family.gates):
        return None
    from variantforge.cli.hub import open_hub, releases_of
    from variantforge.release.before import kept_before, outcomes_before
    from variantforge.stages.card.repos import index_of

    folder, index = shelf.root / PREVIOUS / index_of(family).replace("/", "--"), index_of(family)
    if not offline:
        try:
            hub = open_hub(out, releases_of(shelf), look=True)
            return outcomes_before(hub, index, family.publish.channel, family.version, folder)
        except HubUnreachable as error:
            out.note(error.what)
    if kept := kept_before(family.version, folder):
        out.note(f"gates are compared with release {next(kept.iterdir()).name}, as it was fetched earlier")
        return kept
    raise UsageError(
        f"what {index} released before {family.version} is not known without asking the Hub",
        why="A gate compares with it (vs: previous).",
        next=f"{again(out, 'plan', loaded.path)}   # once, while the Hub answers and without --offline",
    )


def recall_family(file: Path, store: Path | None, out: Output) -> Recalled | None:
    """The family as an earlier run of ``vf plan`` laid it out, when it is certain that it would be laid out so again.

    Never one with a lock, or one that is released to the Hub: for those more than the plan is looked at.
    """
    from variantforge.plan.remembered import RememberedPlan

    path = family_file(file, out)
    shelf = store_of(path, store)
    remembered = RememberedPlan(shelf.root / PLANS, path).read()
    if remembered is None:
        return None
    plan, notes = remembered
    _tell_licences(notes, out)
    return Recalled(path, shelf, plan)


def _tell_licences(notes: Sequence[str], out: Output) -> None:
    for note in notes:
        out.note(("licence:", "dim"), note)


def _remember(opened: Opened, seen: Seen, notes: Sequence[str]) -> None:
    from variantforge.plan.remembered import RememberedPlan
    from variantforge.release.lock import lock_path

    seen.look(lock_path(opened.path))
    if opened.lock is None and opened.file.spec.publish.to == "folder":
        RememberedPlan(opened.store.root / PLANS, opened.path).keep(opened.plan, seen, notes)


def _lock_of(loaded: FamilyFile, out: Output, file: Path, frozen: bool) -> Lock | None:
    """The family's lock, if it has one. Raises NotAsLocked when ``frozen`` demands more of it than there is."""
    from variantforge.release.lock import lock_path

    path, command = lock_path(loaded.path), again(out, "lock", file)
    if not path.exists():
        if frozen:
            raise NotAsLocked(f"there is no {shown(path)}", why="--frozen runs with a lock only.", next=command)
        return None
    from variantforge.release.lock.fit import missing, refuse_misfits
    from variantforge.release.lock.text import read_lock

    lock = read_lock(path)
    if frozen:
        refuse_misfits(missing(lock, loaded.spec), command)
    return lock


def _read_telling(path: Path, out: Output) -> str:
    """A file's digest; says so where reading it takes more than a second."""
    from variantforge.hashing import file_digest

    if (size_bytes := path.stat().st_size) >= LONG_READ_BYTES:
        out.note(f"reading {shown(path)} ({size(size_bytes)}) once, to know it again by its content")
    return file_digest(path)
