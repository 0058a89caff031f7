"""Drift: how what was released differs from what is there, from what is wished, and from what was locked.

finding.py   one difference; the list of them as data and as Markdown
index.py     release.json, the family page, the collection
repos.py     each repo: files, branches, tags, settings
family.py    the family file, its lock, and the store beside it
blame.py     who changed a file, and when
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from variantforge.release.drift.finding import DriftReport, Finding
from variantforge.release.drift.index import collection_findings, index_findings, look_at_index, no_release
from variantforge.release.drift.repos import Look, repo_findings
from variantforge.release.hub import Hub
from variantforge.release.observed import observe
from variantforge.release.parallel import each
from variantforge.release.record import Channel
from variantforge.release.snapshot import Snapshots

__all__ = ["DriftReport", "Finding", "Look", "drift_of"]


def drift_of(
    hub: Hub,
    index_repo: str,
    channel: Channel = "stable",
    more: Callable[[Look], Iterable[Finding]] = lambda look: (),
) -> DriftReport:
    """Compares the Hub with the release that a channel is at; reads, and writes nothing.

    ``more`` adds what only the family file can tell. Raises UsageError where nothing was released, HubError.
    """
    snapshots = Snapshots(hub)
    seen = observe(hub, index_repo, channel, snapshots)
    if seen.record is None:
        raise no_release(hub, index_repo, channel, seen)
    look = Look(hub, snapshots, seen, seen.record)
    index = look_at_index(look)
    of_repos = each(lambda repo: repo_findings(look, repo), look.record.repos)
    findings = [*index_findings(look, index), *(it for found in of_repos for it in found), *collection_findings(look)]
    return DriftReport(look.record, (*findings, *more(look)))
