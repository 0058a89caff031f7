"""What a release would write to the Hub, told: lines for people, a document for programs. Shared by the commands."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Cell, Output
from variantforge.cli.words import counted, size

if TYPE_CHECKING:
    from variantforge.release.changes import Action, RepoChange
    from variantforge.release.planning import ReleasePlan

_NAMED = 4  # files told by name; more become a number
_STYLES = {"create": "green", "update": "yellow", "metadata": "yellow", "unchanged": "dim", "drifted": "red"}


def write_changes(out: Output, plan: ReleasePlan) -> None:
    """One line per repo, then what concerns the whole."""
    changes = plan.changes
    rows: list[tuple[Cell, ...]] = [
        ((change.action.word, _STYLES.get(change.action.word, "yellow")), change.repo, _said(change))
        for change in changes.repos
    ]
    rows += [(("set", "yellow"), one.repo, f"{one.what}: {one.there} → {one.wanted}") for one in changes.settings]
    rows += [
        (("moved tag", "red"), one.repo, f"{one.tag} points at {one.there[:7]}, not at {one.wanted[:7]}; it is left")
        for one in changes.moved_tags
    ]
    if changes.page or changes.record:
        rows.append((("index", "yellow"), plan.record.index.repo, _index(plan)))
    rows += [(("collection", "yellow"), "", sentence) for sentence in changes.collection]
    rows += [(("tidy", "yellow"), repo, "the staging branch goes") for repo in changes.untidied]
    rows += [
        (("left", "dim"), repo, "is no part of the family any more; vf retire tells people where to go")
        for repo in changes.left
    ]
    out.table(rows)
    out.line(summary(plan))


def summary(plan: ReleasePlan) -> str:
    """``release 1.1.0 on stable: 3 commits of 128 an hour, 105.2 MB to upload``."""
    record = plan.record
    if plan.nothing_to_do:
        return f"the Hub holds release {record.version} ({record.channel}) as it is wished: nothing to write"
    word = "bring back release" if record == plan.before else "release"
    cost = f"{counted(plan.commits, 'commit')} of 128 an hour, {size(plan.upload_bytes)} to upload"
    return f"{word} {record.version} on {record.channel}: {cost}"


def changes_document(plan: ReleasePlan) -> dict[str, Any]:
    """The same for programs."""
    changes = plan.changes
    return {
        "version": plan.record.version,
        "channel": plan.record.channel,
        "index": plan.record.index.repo,
        "before": plan.before.version if plan.before else None,
        "nothing_to_do": plan.nothing_to_do,
        "commits": plan.commits,
        "upload_bytes": plan.upload_bytes,
        "repos": [{"repo": it.repo, "action": it.action.word, **_facts(it)} for it in changes.repos],
        "settings": [asdict(it) for it in changes.settings],
        "missing_tags": list(changes.missing_tags),
        "moved_tags": [asdict(it) for it in changes.moved_tags],
        "collection": list(changes.collection),
        "page": list(changes.page),
        "left": list(changes.left),
        "untidied": list(changes.untidied),
    }


def _facts(change: RepoChange) -> dict[str, Any]:
    return {
        "upload_bytes": change.upload_bytes,
        **{name: list(getattr(change.action, name, ())) for name in ("added", "changed", "removed")},
        "drift": list(change.drift.files.paths) if change.drift else [],
        "foreign": list(change.foreign),
        "refused": change.refused,
    }


def _said(change: RepoChange) -> str:
    parts = [_of(change.action)]
    if change.drift and change.action.word != "drifted":
        parts.append(f"also edited there: {_named(change.drift.files.paths)}{_by(change)}")
    if change.foreign:
        parts.append(f"left alone: {_named(change.foreign)}")
    if change.refused:
        parts.append(f"keeps what was released before: {change.refused}")
    return "; ".join(part for part in parts if part)


def _of(action: Action) -> str:
    from variantforge.release.changes import Create, Drifted, Restore, Unchanged, Unfinished, Update

    match action:
        case Create():
            return f"{counted(len(action.files), 'file')}, {size(action.upload_bytes)}"
        case Update():  # MetadataOnly among them
            words = [
                f"{word} {_named(paths)}"
                for word, paths in (("add", action.added), ("change", action.changed), ("remove", action.removed))
                if paths
            ]
            return f"{', '.join(words)}, {size(action.upload_bytes)}"
        case Drifted():
            files = action.files
            words = [
                f"{word} {_named(paths)}"
                for word, paths in (
                    ("edited", files.changed),
                    ("deleted", files.missing),
                    ("back again", files.surplus),
                )
                if paths
            ]
            return f"{', '.join(words)}{_authors(action)}: put back as released"
        case Restore():
            return f"as in {action.commit[:7]} of {action.since}, nothing to upload"
        case Unfinished():
            return "was interrupted; only the branch has to follow"
        case Unchanged():
            return ""


def _by(change: RepoChange) -> str:
    return _authors(change.drift) if change.drift else ""


def _authors(drift: Any) -> str:
    names = list(dict.fromkeys(commit.author for commit in drift.by if commit.author))
    return f" by {', '.join(names)}" if names else ""


def _index(plan: ReleasePlan) -> str:
    before = plan.before.version if plan.before else ""
    moved = f"{before} → {plan.record.version}" if before and before != plan.record.version else plan.record.version
    files = ["release.json"] if plan.changes.record else []
    return f"{_named([*files, *plan.changes.page])}: {moved}"


def _named(paths: Any) -> str:
    names = list(paths)
    return (
        ", ".join(names)
        if len(names) <= _NAMED
        else f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} more"
    )
