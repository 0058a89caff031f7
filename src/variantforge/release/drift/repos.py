"""How one repo differs from what its release says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from variantforge.release.drift.blame import Blame, names, others_on_top
from variantforge.release.drift.finding import APPLY, Finding, Kind, told_by
from variantforge.release.hub import Commit, Hub
from variantforge.release.observed import Observed, ObservedRepo
from variantforge.release.record import STAGING, Record
from variantforge.release.retire import is_retirement
from variantforge.release.snapshot import Snapshots
from variantforge.stages.card.managed import managed, new_version
from variantforge.stages.card.repos import PAGE

_WEIGHTS = (".safetensors", ".gguf", ".bin")


@dataclass(frozen=True)
class Look:
    """What every question about a repo needs."""

    hub: Hub
    snapshots: Snapshots
    seen: Observed
    record: Record


def repo_findings(look: Look, repo: str) -> list[Finding]:
    seen, released = look.seen.repos.get(repo), look.record.repos[repo]
    if seen is None:
        return [Finding("missing_repo", repo, "is not there, or is hidden from this token", next=APPLY)]
    found = [*_settings(look, repo, seen), *_tag(look, repo, seen), *_staging(repo, seen)]
    if seen.released is None or seen.released.tree != released.tree:
        what = f"no longer holds commit {released.commit[:12]} of {released.since}: its history was rewritten"
        return [*found, Finding("lost_commit", repo, what, next=APPLY)]
    if seen.head is None or not seen.on_channel:
        return [*found, Finding("missing_branch", repo, f"has no branch {look.record.branch}", next=APPLY)]
    if seen.behind:
        what = f"{look.record.branch} was never brought to {look.record.version}: the release was interrupted"
        return [*found, Finding("unfinished_release", repo, what, seen.drift.paths, next="vf apply   # goes on")]
    return [*found, *_content(look, repo, seen)]


def _content(look: Look, repo: str, seen: ObservedRepo) -> Iterator[Finding]:
    assert seen.head is not None
    by, base = _others(look, repo, seen)
    if seen.drift:
        yield from _changed_files(Blame(look.hub, look.snapshots, repo, by, base), repo, seen)
    if seen.foreign:
        yield Finding("foreign_file", repo, f"holds files of other people: {', '.join(seen.foreign)}", seen.foreign)
    if other := new_version(seen.head.readme or ""):
        yield Finding("retired", repo, f"sends its readers to {other}", next=f"vf retire {repo} --undo")
    elif (
        seen.head.readme is not None and PAGE not in seen.drift.paths and managed(seen.head.readme) != seen.head.readme
    ):
        yield Finding("people_text", repo, "people have added to the card; it is kept", (PAGE,))
    others = [commit for commit in by if not is_retirement(commit)]
    if others and not seen.drift:
        count, newest = len(others), others[0]
        what = f"{count} commit{'s' * (count != 1)} of others on {look.record.branch}: {newest.title!r}"
        yield Finding("moved_branch", repo, what, who=names(others), since=newest.date)


def _others(look: Look, repo: str, seen: ObservedRepo) -> tuple[tuple[Commit, ...], str]:
    """The commits on top of our last one, newest first, and our last one."""
    assert seen.head is not None
    if seen.head.oid == look.record.repos[repo].commit:
        return (), seen.head.oid
    return others_on_top(look.hub, repo, seen.head.oid)


def _changed_files(blame: Blame, repo: str, seen: ObservedRepo) -> Iterator[Finding]:
    for path in seen.drift.changed:
        yield Finding(_kind(path), repo, f"{_noun(path)} was edited", (path,), next=APPLY, **told_by(blame.of(path)))
    for path in seen.drift.missing:
        yield Finding("deleted_file", repo, f"{path} was deleted", (path,), next=APPLY, **told_by(blame.of(path)))
    for path in seen.drift.surplus:
        what = f"{path} of an earlier release is there again"
        yield Finding("returned_file", repo, what, (path,), next=APPLY, **told_by(blame.of(path)))


def _kind(path: str) -> Kind:
    if path == PAGE:
        return "edited_card"
    return "changed_weights" if path.endswith(_WEIGHTS) else "changed_file"


def _noun(path: str) -> str:
    return "our part of README.md" if path == PAGE else path


def _settings(look: Look, repo: str, seen: ObservedRepo) -> Iterator[Finding]:
    visibility = "private" if seen.remote.private else "public"
    if visibility != look.record.visibility:
        yield Finding("visibility", repo, f"is {visibility}, released as {look.record.visibility}", next=APPLY)
    if seen.remote.gated != look.record.gated and repo != look.record.index.repo:
        yield Finding("gated", repo, f"is gated: {seen.remote.gated}, released as {look.record.gated}", next=APPLY)


def _tag(look: Look, repo: str, seen: ObservedRepo) -> Iterator[Finding]:
    tag, commit = look.record.tag, look.record.repos[repo].commit
    at = seen.tags.get(tag)
    if at is None:
        yield Finding("missing_tag", repo, f"has no tag {tag}", next=APPLY)
    elif at != commit:
        what = f"{tag} points at {at[:12]}, released was {commit[:12]}"
        yield Finding("moved_tag", repo, what, next=moved_tag_back(look, repo, tag, commit))


def moved_tag_back(look: Look, repo: str, tag: str, commit: str) -> str:
    """Tags are never moved by a release, since people pin them; who moved this one can move it back."""
    return f"hf repos tag delete {repo} {tag} && vf apply   # sets it at {commit[:12]}"


def _staging(repo: str, seen: ObservedRepo) -> Iterator[Finding]:
    branches = [name for name in seen.remote.branches if name.startswith(STAGING)]
    if branches:
        what = f"a release was begun and is not decided: {', '.join(branches)}"
        yield Finding("staging_branch", repo, what, next="vf apply   # goes on with it, or takes it away")


def settings_of_index(look: Look) -> Iterator[Finding]:
    if look.seen.index:
        yield from _settings(look, look.record.index.repo, look.seen.index)
