"""What a release is refused for before anything is written: repos of others, versions that are taken."""

from __future__ import annotations

from collections.abc import Collection

from variantforge.errors import Refused, UsageError
from variantforge.release.desired import Desired
from variantforge.release.hub import Hub
from variantforge.release.observed import Observed, ObservedRepo
from variantforge.release.record import Record, tag_of
from variantforge.release.versions import next_free, was_taken_back


def refuse_foreign(desired: Desired, observed: Observed, adopt: Collection[str]) -> None:
    """Raises Refused for repos that are neither ours nor empty nor adopted."""
    theirs = [
        (repo, whose)
        for repo in desired.repos
        if repo not in adopt and (whose := _whose(desired.family, repo, observed.repos[repo], observed.record))
    ]
    index = desired.index.repo
    if index not in adopt and (whose := _whose_index(desired.family, observed)):
        theirs.append((index, whose))
    if theirs:
        raise Refused(
            "the Hub has repos of that name already, and this family has not made them",
            why="\n".join(f"{repo} {whose}" for repo, whose in theirs),
            next=f"vf import --adopt {theirs[0][0]}   # keeps its files, or choose another publish.namespace or .repo",
        )


def _whose(family: str, repo: str, there: ObservedRepo | None, record: Record | None) -> str:
    """Whose repo it is, as a clause; '' when we may write there."""
    if there is None or there.head is None or there.head.is_empty or (record and repo in record.repos):
        return ""
    if there.head.lineage is None:
        return "holds files, and no variantforge.json"
    owner = there.head.lineage.family
    return "" if owner == family else f"belongs to the family '{owner}'"


def _whose_index(family: str, observed: Observed) -> str:
    owners = {record.family for record in observed.records.values()} - {family}
    if owners:
        return f"holds the releases of the family '{owners.pop()}'"
    head = observed.index.head if observed.index else None
    return "" if observed.records or head is None or head.is_empty else "holds files, and no release.json"


def refuse_taken(wished: Record, known: Record | None, observed: Observed) -> None:
    """A version means one content for ever. Raises UsageError that names the next free one."""
    if known is not None and wished.same_content(known):
        return
    free = _free(wished, observed)
    if known is not None:
        trees = {repo for repo, tree in {*wished.trees.items()} ^ {*known.trees.items()}}
        raise UsageError(
            f"version {wished.version} is released already, with other content",
            why=f"Different now: {', '.join(sorted(trees)) or 'the family page'}. People pin versions, so each means "
            "one content for ever.",
            next=f"write 'version: {free}' in the family file",
        )
    states = {**observed.repos, observed.index_repo: observed.index}
    tagged = sorted(repo for repo, there in states.items() if there and tag_of(wished.version) in there.tags)
    if tagged:
        raise UsageError(
            f"the tag {tag_of(wished.version)} is there already in {', '.join(tagged)}, and is of no release",
            why="Tags are never moved: people pin them.",
            next=f"write 'version: {free}' in the family file, or take the tag away on the Hub",
        )


def refuse_taken_back(wished: Record, hub: Hub, observed: Observed) -> None:
    """A rollback was somebody's decision: no apply undoes it just because the family file was not touched since."""
    current = observed.record
    if current is None or wished.id == current.id or not was_taken_back(hub, observed, wished.version):
        return
    free = _free(wished, observed)
    raise UsageError(
        f"{wished.version} was taken back: the channel {wished.channel} was rolled back to {current.version}",
        why="An apply does not undo a rollback: what comes next is a version of its own.",
        next=f"write 'version: {free}' in the family file; or vf rollback {wished.version}   # as it was",
    )


def _free(wished: Record, observed: Observed) -> str:
    return next_free(wished.version, [*observed.versions, *(record.version for record in observed.records.values())])
