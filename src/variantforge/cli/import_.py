"""``vf import``: the local state from the Hub alone; and foreign repos adopted into a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from variantforge.cli.hub import confirm, open_hub, releases_of, releasing
from variantforge.cli.opening import known_before, open_family, store_of
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again, shown
from variantforge.cli.output import Output
from variantforge.cli.releases import Counting, IndexRepo, OfChannel, Target, check_repo, target_of
from variantforge.cli.words import counted, size
from variantforge.errors import NotOnHub, UsageError

if TYPE_CHECKING:
    from variantforge.plan.plan import Plan
    from variantforge.release.found import Found
    from variantforge.release.hub import Hub
    from variantforge.release.lock.record import Lock
    from variantforge.spec.load import FamilyFile

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf import                          the release of ./family.yaml back into its store
  vf import --version 1.0.0          an older one
  vf import --index acme/quick       without a family file: tells which family it is
  vf import --adopt acme/old-code    the next apply may take over this repo; its files are kept
"""  # fmt: skip


@dataclass(frozen=True)
class _Family:
    """The family file beside the store, as far as there is one."""

    file: FamilyFile
    plan: Plan
    lock: Lock | None


class _LockEnd(NamedTuple):
    """``path``: where a lock was written ('': nowhere). ``same``: it is the very lock that the release names."""

    path: str = ""
    same: bool = False
    told: str = ""


@app.command("import", epilog=_EXAMPLES)
def import_(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    index: IndexRepo = None,
    version: Annotated[str, typer.Option(metavar="V", help="Not the newest release, but this one.")] = "",
    adopt: Annotated[
        list[str] | None, typer.Option(metavar="REPO", help="Take over this repo with the next release; repeatable.")
    ] = None,
    channel: OfChannel = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch more than 1 GB without asking.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Fetch what was released back into the store.

    On a new machine, plan and apply then go on from there. Every byte is compared with the digest that was released.
    What the Hub does not hold (adapters of withheld repos,
    training data, measurements) is told; of those, apply makes only what it needs.
    """
    from variantforge.release.found import find_release
    from variantforge.release.rebuild import ASK_BYTES, rebuild

    out: Output = ctx.obj
    target = target_of(file, index, channel, store, out)
    journal = releases_of(target.store)
    if adopt:
        _adopt(out, target, open_hub(out), adopt, as_json, file)
        return
    with releasing(target.store) as stop:
        hub = open_hub(out, journal, stop)
        out.note(("looking", "bold"), f"at {target.index} on {hub.endpoint}")
        found = find_release(hub, target.index, target.channel, version.removeprefix("v"))
        forced = _remember_forced(found, target)  # before the plan: gates are then laid out as they were released
        family = _family(file, store, found, out) if target.spec else None
        wanted = found.wanted(target.store)
        size_bytes = sum(part.size_bytes for part in wanted)
        _write_found(out, found, target, size_bytes)
        if size_bytes > ASK_BYTES:
            confirm(out, yes, f"Fetch {size(size_bytes)} into {target.store.root}?", refusal="nothing was fetched")
        missing = rebuild(
            found, target.store, journal, family.plan if family else None, Counting(out, "fetching"), stop
        )
    lock = _lock(found, family, out) if family else _LockEnd()
    missing += [lock.told] if lock.told and not lock.path else []
    other = found.not_as_locked(family.lock, family.file.spec) if family and family.lock else []
    if as_json:
        told = _document(found, target, len(wanted), size_bytes, lock, missing) | {"not_as_locked": other}
        out.json(told | ({"forced": forced} if forced else {}))
    for one in forced:
        out.line(("forced:", "yellow"), f"{one['gate']} ships although it refused: {one['reason']}")
    for text in other:
        out.line(("not as locked:", "yellow"), text)
    _write_end(out, found, target, len(wanted), lock, missing, file if target.spec else None)


def _family(file: Path, store: Path | None, found: Found, out: Output) -> _Family:
    """The family file's plan; without a lock, with bases at the commits that the released adapters name."""
    from variantforge.plan.build import build_plan
    from variantforge.plan.pin import Resolver
    from variantforge.release.lock import lock_path
    from variantforge.release.lock.needs import needs
    from variantforge.spec.load import load_family
    from variantforge.store.forced import reasons

    path = file / DEFAULT_FILE if file.is_dir() else file
    if lock_path(path).exists():
        opened = open_family(file, store, out)
        return _Family(opened.file, opened.plan, opened.lock)
    loaded, bases = load_family(path), found.bases
    known = [need for need in needs(loaded.spec) if need.section == "base" and need.hub and need.hub.name in bases]
    resolver = Resolver(locked={(need.hub, "model"): bases[need.hub.name] for need in known if need.hub})
    shelf = store_of(path, store)
    before = known_before(loaded, shelf, out, offline=False)
    return _Family(loaded, build_plan(loaded, resolver, before, reasons(shelf.root, loaded.spec.family)), None)


def _remember_forced(found: Found, target: Target) -> list[dict[str, str]]:
    """Reasons for which gates were overridden, as the released repos tell them; the store knows them from here on."""
    from variantforge.release.forced import forced_in
    from variantforge.store.forced import force

    told = []
    for part in found.parts:
        for one in forced_in(part.lineage.more.get("forced")):
            label = f"gate {part.variant} {one.subject}"
            force(target.store.root, found.record.family, {one.gate: label}, one.reason)
            told.append({"key": one.gate, "gate": label, "reason": one.reason})
    return told


def _lock(found: Found, family: _Family, out: Output) -> _LockEnd:
    """Written where the plan makes the very steps that were released, since
    their keys then prove that bases and data are those of the release. release.json names the tools."""
    from variantforge.release.lock import lock_path
    from variantforge.release.lock.facts import now
    from variantforge.release.lock.record import Lock
    from variantforge.release.lock.text import lock_digest, write_lock

    path, record = lock_path(family.file.path), found.record
    if family.lock:
        return _LockEnd()
    other = [part.repo for part in found.parts if part.step.key not in family.plan.steps]
    if other:
        told = f"{shown(path)}: family file, bases or data are not those of the release for {', '.join(other)}"
        return _LockEnd(told=told)
    fresh = now(family.file.spec, family.plan, Lock(), tell=out.note)
    tools = {name: version for name, version in record.tools.items() if name != "variantforge"}
    lock = replace(fresh, tools=tools or fresh.tools)
    write_lock(path, lock)
    if lock_digest(lock) == record.lock:
        return _LockEnd(shown(path), True, f"the very lock that {record.version} was made with")
    was = "another lock" if record.lock else "none"
    return _LockEnd(shown(path), False, f"it makes the same steps; {record.version} was made with {was}")


def _adopt(out: Output, target: Target, hub: Hub, repos: Sequence[str], as_json: bool, file: Path) -> None:
    from variantforge.release.snapshot import Snapshots

    journal, told = releases_of(target.store), []
    for repo in repos:
        check_repo(repo)
        _must_be_of(target, repo)
    for repo in repos:
        remote = hub.repo(repo)
        head = remote.branches.get("main") if remote else None
        if head is None:
            raise NotOnHub(f"there is no {repo}, or it is hidden from this token", next=f"look at {hub.page(repo)}")
        there = Snapshots(hub).at(repo, head)
        if there.lineage is not None and target.spec and there.lineage.family != target.spec.family:
            raise UsageError(
                f"{repo} belongs to the family '{there.lineage.family}'",
                why="Two families cannot release the same repo: each would undo the other.",
                next="choose another publish.namespace or publish.repo",
            )
        journal.adopt(target.index, repo)
        told.append({"repo": repo, "files": len(there.files)})
        kept = counted(len(there.files), "file")
        out.line(("adopted", "ok"), f"{repo}: {kept} kept, but for those that a release writes under the same name")
    if as_json:
        out.json({"index": target.index, "adopted": told})
    out.line(("next:", "cyan"), f"{again(out, 'plan', file)}   # what the next apply would write there")


def _must_be_of(target: Target, repo: str) -> None:
    """Raises UsageError for a repo that no release of this family would ever write."""
    from variantforge.stages.card.repos import repos_of

    ours = [target.index, *(each.id for each in repos_of(target.spec))] if target.spec else []
    if ours and repo not in ours:
        raise UsageError(
            f"{repo} is no repo of this family",
            why=f"Its repos are {', '.join(ours[:8])}{', ...' if len(ours) > 8 else ''}.",
            next="set publish.namespace and publish.repo so that one of them has that name",
        )


def _write_found(out: Output, found: Found, target: Target, size_bytes: int) -> None:
    record = found.record
    out.line((f"{record.family} {record.version}", "bold"), f"({record.channel}) of {record.index.repo}")
    there = {part.repo for part in found.parts} - {part.repo for part in found.wanted(target.store)}
    rows = [
        (("there", "dim") if part.repo in there else ("fetch", "yellow"), part.repo, size(part.size_bytes))
        for part in found.parts
    ]
    out.table(rows)
    out.line(f"{size(size_bytes)} to fetch")


def _write_end(
    out: Output, found: Found, target: Target, fetched: int, lock: _LockEnd, missing: Sequence[str], file: Path | None
) -> None:
    out.line(("imported:", "ok"), f"{counted(fetched, 'repo')} into {shown(target.store.root)}")
    if lock.path:
        out.line(("wrote", "bold"), f"{lock.path}: {lock.told}")
    for text in missing:
        out.line(("missing:", "yellow"), text)
    if file is not None:
        out.line(("next:", "cyan"), again(out, "plan", file))
    else:
        out.line(f"it is the family {found.record.family}; with its family file here, plan and apply go on from this")


def _document(
    found: Found, target: Target, fetched: int, size_bytes: int, lock: _LockEnd, missing: Sequence[str]
) -> dict[str, Any]:
    record = found.record
    return {
        "index": record.index.repo,
        "family": record.family,
        "version": record.version,
        "channel": record.channel,
        "release": record.id,
        "store": str(target.store.root),
        "repos": [{"repo": part.repo, "step": part.step.key, "commit": part.there.oid} for part in found.parts],
        "fetched": fetched,
        "fetched_bytes": size_bytes,
        "lock": {"path": lock.path, "same_as_released": lock.same},
        "missing": list(missing),
    }
