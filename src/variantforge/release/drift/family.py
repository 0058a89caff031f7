"""What only the family file can tell: the lock, what is wished and not released yet, and the store beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from variantforge.plan.plan import Plan
from variantforge.release.drift.finding import Finding, Kind
from variantforge.release.drift.repos import Look
from variantforge.release.lock.fit import Misfit, ask_hub, misfits
from variantforge.release.lock.record import Lock
from variantforge.release.lock.rests import held, not_as_locked, pins_told
from variantforge.release.record import Lineage
from variantforge.release.versions import is_newer
from variantforge.spec.family import FamilySpec
from variantforge.step import Step
from variantforge.store.artifacts import Store

_LOCK_KINDS: dict[tuple[str, str], Kind] = {
    (kind, section): "moved_base" if section == "base" else "moved_data"
    for kind in ("moved", "changed", "swapped", "hidden")
    for section in ("base", "data", "teachers")
}


def family_findings(
    spec: FamilySpec, plan: Plan, lock: Lock | None, store: Store
) -> Callable[[Look], Iterator[Finding]]:
    """For ``drift_of(more=...)``."""

    def more(look: Look) -> Iterator[Finding]:
        yield from _lock(spec, plan, lock)
        yield from _resting(spec, lock, look)
        yield from _not_applied(spec, plan, look)
        yield from _state(plan, store, look)

    return more


def _lock(spec: FamilySpec, plan: Plan, lock: Lock | None) -> Iterator[Finding]:
    if lock is None:
        what = "there is no lock, so nobody can tell whether bases and data have moved"
        yield Finding("not_locked", "", what, next="vf lock")
        return
    answer = ask_hub(lock, spec, plan)
    yield from (_of_misfit(misfit) for misfit in (*misfits(lock, spec, plan), *answer.misfits))
    if answer.unreachable:
        yield Finding("hub_unasked", "", f"the Hub could not be asked what has moved: {answer.unreachable}")


def _of_misfit(misfit: Misfit) -> Finding:
    other: Kind = "changed_tools" if misfit.section == "tools" else "not_locked"
    kind = _LOCK_KINDS.get((misfit.kind, misfit.section), other)
    upgrade = f" --upgrade {misfit.upgrade}" if misfit.upgrade else ""
    return Finding(kind, "", f"{misfit.subject}: {misfit.text}", next=f"vf lock{upgrade}")


def _resting(spec: FamilySpec, lock: Lock | None, look: Look) -> Iterator[Finding]:
    """Repos that were made of other bases or data than the lock holds now."""
    for repo in look.record.repos if lock else ():
        lineage = _lineage(look, repo)
        if lock and lineage and (variant := str(lineage.more.get("variant"))) in spec.variants:
            others = list(not_as_locked(pins_told(lineage), held(lock, spec, variant)))
            if others:
                yield Finding("not_as_locked", repo, f"rests on {'; '.join(others)}", next="vf plan")


def _not_applied(spec: FamilySpec, plan: Plan, look: Look) -> Iterator[Finding]:
    """Where the family file is ahead of what is released (or behind it, after a rollback)."""
    record, what = look.record, ""
    if spec.version != record.version:
        what = f"the family file says {spec.version}, released is {record.version}"
        if record.supersedes == spec.version and is_newer(spec.version, record.version):
            what += f", by a rollback that took {spec.version} back"
    wished = dict(_wished(plan))
    other = [repo for repo, step in wished.items() if _released_step(look, repo) != step.key]
    if what or other:
        repos = f"not as wished: {', '.join(other)}" if other else ""
        yield Finding("not_applied", "", "; ".join(part for part in (what, repos) if part), next="vf plan")
    left = [repo for repo in record.repos if repo not in wished]
    if left:
        yield Finding("not_applied", "", f"no part of the family file any more: {', '.join(left)}", next="vf plan")


def _wished(plan: Plan) -> Iterator[tuple[str, Step]]:
    """Repo -> the step that lays it out."""
    for place, key in plan.places.items():
        if place.stage == "publish" and place.variant:
            yield str(plan.steps[key].params["repo"]), plan.steps[key]


def _released_step(look: Look, repo: str) -> str:
    """The step that the released content comes of; '' for a repo that is not released, or cannot be read."""
    lineage = _lineage(look, repo)
    return str(lineage.more.get("step", "")) if lineage else ""


def _lineage(look: Look, repo: str) -> Lineage | None:
    seen = look.seen.repos.get(repo)
    return seen.released.lineage if seen and seen.released else None


def _state(plan: Plan, store: Store, look: Look) -> Iterator[Finding]:
    """Repos that are released as wished, and that this machine has not got."""
    gone = [repo for repo, step in _wished(plan) if _released_step(look, repo) == step.key and store.find(step) is None]
    if gone:
        what = f"this machine's store does not hold {', '.join(gone)}, which is released as wished"
        yield Finding("state_missing", "", what, next="vf import")
