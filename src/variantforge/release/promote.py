"""Promotion and rollback: a channel gets the whole family as another release has it. No upload, no gate run again."""

from __future__ import annotations

from variantforge.errors import UsageError
from variantforge.release.hub import Hub
from variantforge.release.observed import Observed, observe
from variantforge.release.planning import ReleasePlan, plan_restore
from variantforge.release.record import Channel, is_version
from variantforge.release.snapshot import Snapshots
from variantforge.release.versions import is_newer, version_order


def plan_promotion(hub: Hub, index_repo: str, source: Channel, target: Channel) -> ReleasePlan:
    """The release that ``source`` stands at becomes that of ``target``.

    Raises UsageError when ``source`` has no release, or none that is newer than what ``target`` stands at.
    """
    if source == target:
        raise UsageError(f"{source} cannot be promoted to itself", next="vf promote candidate stable")
    records = observe(hub, index_repo, source, Snapshots(hub)).records
    there, current = records.get(source), records.get(target)
    if there is None:
        raise UsageError(
            f"{index_repo} has no release on its channel {source}",
            next=f"write 'channel: {source}' under publish in the family file, then vf apply",
        )
    if current is not None and not is_newer(there.version, current.version):
        back = f", or vf rollback {there.version}" if there.version != current.version else ""
        raise UsageError(
            f"{source} has nothing newer than {target}: {there.version} there, {current.version} here",
            why="Promotion goes forward; a rollback goes back.",
            next=f"release a newer version to {source}{back}",
        )
    return plan_restore(hub, index_repo, there.version, target)


def plan_rollback(hub: Hub, index_repo: str, version: str, channel: Channel) -> ReleasePlan:
    """A channel gets the release ``version`` as it was; also one that was taken back before.

    Repos that this release did not have stay as they are (``plan.changes.left``). Raises UsageError when the version
    was never released, IntegrityError when the Hub no longer holds what it was.
    """
    return plan_restore(hub, index_repo, version, channel)


def versions_of(seen: Observed) -> list[str]:
    """Every version that the index repo knows, the oldest first."""
    known = {*seen.versions, *(record.version for record in seen.records.values())}
    return sorted(filter(is_version, known), key=version_order)
