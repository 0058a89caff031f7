"""One difference between what was released and what is there, and the whole list of them, as data and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from variantforge.release.hub import Commit
from variantforge.release.record import Record
from variantforge.stages.card.markdown import code, plain

DriftKind = Literal[
    "edited_card",
    "changed_file",
    "changed_weights",
    "deleted_file",
    "returned_file",
    "lost_commit",
    "missing_repo",
    "missing_branch",
    "visibility",
    "gated",
    "moved_tag",
    "missing_tag",
    "record_edited",
    "record_deleted",
    "record_unreadable",
    "unfinished_release",
    "collection_missing",
    "collection_title",
    "collection_description",
    "collection_visibility",
    "collection_item_missing",
    "collection_item_note",
    "collection_order",
    "moved_base",
    "moved_data",
]
InfoKind = Literal[
    "foreign_file",
    "people_text",
    "moved_branch",
    "retired",
    "staging_branch",
    "collection_item_extra",
    "changed_tools",
    "not_locked",
    "not_as_locked",
    "hub_unasked",
    "not_applied",
    "state_missing",
]
Kind = DriftKind | InfoKind
INFO: frozenset[str] = frozenset(get_args(InfoKind))
APPLY = "vf apply   # puts it back as released"


@dataclass(frozen=True)
class Finding:
    """``what`` is a clause about ``repo`` ('' where it concerns no single one). ``who`` and ``since`` (ISO 8601) are ''
    where the Hub does not say: it keeps no record of who changed settings, tags and collections."""

    kind: Kind
    repo: str
    what: str
    paths: tuple[str, ...] = ()
    who: str = ""
    since: str = ""
    next: str = ""

    @property
    def drift(self) -> bool:
        return self.kind not in INFO

    @property
    def document(self) -> dict[str, Any]:
        return {"kind": self.kind, "drift": self.drift, **asdict(self), "paths": list(self.paths)}


def told_by(commit: Commit | None) -> dict[str, str]:
    """Who and since, where a commit is known that did it."""
    return {"who": commit.author, "since": commit.date} if commit else {}


@dataclass(frozen=True)
class DriftReport:
    """``record``: the release that everything was compared with."""

    record: Record
    findings: tuple[Finding, ...]

    @property
    def drifted(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.drift]

    @property
    def told(self) -> list[Finding]:
        """What is no drift, and worth knowing."""
        return [finding for finding in self.findings if not finding.drift]

    @property
    def document(self) -> dict[str, Any]:
        """Stable fields; new ones may come, none of these go."""
        record = self.record
        return {
            "index": record.index.repo,
            "family": record.family,
            "channel": record.channel,
            "version": record.version,
            "release": record.id,
            "drift": bool(self.drifted),
            "counts": {"drift": len(self.drifted), "info": len(self.told)},
            "findings": [finding.document for finding in self.findings],
        }

    def markdown(self) -> str:
        """A summary for a job or an issue. Names and words from the Hub are escaped: strangers wrote them."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        record, count = self.record, len(self.drifted)
        yield f"### Drift of {record.family} {record.version} ({record.channel})"
        yield ""
        if not count:
            yield f"None: `{record.index.repo}` and its {len(record.repos)} repos are as they were released."
        else:
            yield f"{count} difference{'s' * (count != 1)} from what was released."
            yield ""
            yield from _table(self.drifted)
        if self.told:
            yield ""
            yield f"<details><summary>{len(self.told)} more to know, none of it drift</summary>"
            yield ""
            yield from _table(self.told)
            yield ""
            yield "</details>"


def _table(findings: Iterable[Finding]) -> Iterator[str]:
    yield "| repo | kind | what | who | since | next |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for it in findings:
        next = it.next.partition("   #")[0]
        since = it.since[:16].replace("T", " ")
        cells = (code(it.repo), code(it.kind), plain(it.what), plain(it.who), since, code(next) if next else "")
        yield f"| {' | '.join(cells)} |"
