"""What the release before this one measured of every item, fetched from the index repo of a family on the Hub.

It is kept by commit, so it is fetched once: ``<folder>/<version at hand>-<commit>/<version before>/*.jsonl``, the form
that planning reads (see ``plan.previous``).
"""

from __future__ import annotations

import re
from pathlib import Path

from variantforge.errors import IntegrityError
from variantforge.fsops import make_folder, move_in, remove_tree, temp_sibling, write_bytes
from variantforge.hashing import bytes_digest
from variantforge.plan.previous import version_order
from variantforge.release.hub import Hub
from variantforge.release.hub.facts import RemoteRepo
from variantforge.release.observed import read_record, standing
from variantforge.release.parallel import each
from variantforge.release.record import Channel, Record, branch_of, is_version, tag_of
from variantforge.stages.gate.outcomes import FOLDER

_BEFORE = re.compile(r"(?:stable|candidate)-(.+)-[0-9a-f]{32}")


def outcomes_before(hub: Hub, index_repo: str, channel: Channel, version: str, folder: Path) -> Path:
    """The folder that holds the release before ``version``; empty, or not there, when there is none.

    That is the release which the channel is at (a new channel: stable), so never one that was taken back; once
    ``version`` is released itself, the one that it followed. Raises HubError, IntegrityError.
    """
    remote = hub.repo(index_repo)
    found = _before(hub, remote, channel, version) if remote else None
    if remote is None or found is None:
        return folder / "none"
    before, revision = found
    root = folder / f"{version}-{revision[:16]}"
    if not (root / before).is_dir():
        record = read_record(hub, index_repo, revision)
        _fetch(hub, index_repo, revision, record, root / before)
    return root


def kept_before(version: str, folder: Path) -> Path | None:
    """What was fetched last for a version; None when nothing was."""
    kept = sorted(folder.glob(f"{version}-*"), key=lambda path: path.stat().st_mtime)
    return kept[-1] if kept else None


def _before(hub: Hub, remote: RemoteRepo, channel: Channel, version: str) -> tuple[str, str] | None:
    """Its version, and the commit of the index repo that holds it."""
    record, head = _stands(hub, remote, channel)
    if record is None:
        return None
    if version_order(record.version) < version_order(version):
        return record.version, remote.tags.get(record.tag) or head
    if record.version == version:
        followed = _BEFORE.fullmatch(record.before)
        named = [followed[1]] if followed and tag_of(followed[1]) in remote.tags else []
    else:
        named = [tag.removeprefix("v") for tag in remote.tags if tag.startswith("v") and is_version(tag[1:])]
    older = [one for one in named if version_order(one) < version_order(version)]
    newest = max(older, key=version_order, default=None)
    return (newest, remote.tags[tag_of(newest)]) if newest else None


def _stands(hub: Hub, remote: RemoteRepo, channel: Channel) -> tuple[Record | None, str]:
    """The release that a channel is at, else stable, and the head of that branch."""
    for name in dict.fromkeys((channel, "stable")):
        if head := remote.branches.get(branch_of(name)):
            record = standing(hub, remote.id, head, name).record
            if record:
                return record, head
    return None, ""


def _fetch(hub: Hub, index_repo: str, revision: str, record: Record | None, target: Path) -> None:
    """Every file of outcomes, each with the digest that its release.json names; moved in whole."""
    wanted = {path: digest for path, digest in record.index.files.items() if _is_outcome(path)} if record else {}
    data = each(lambda path: hub.read(index_repo, revision, path), wanted)
    built = temp_sibling(target)
    try:
        make_folder(built)
        for (path, digest), content in zip(wanted.items(), data, strict=True):
            if bytes_digest(content) != digest:
                raise IntegrityError(
                    f"{path} of {index_repo} at {revision[:12]} is not what was released",
                    why="A gate that compares with the release before would be judged by other figures.",
                    next=f"vf verify {index_repo}   # everything that differs",
                )
            write_bytes(built / path.partition("/")[2], content)
        make_folder(target.parent)
        move_in(built, target)
    finally:
        remove_tree(built)


def _is_outcome(path: str) -> bool:
    folder, _, name = path.partition("/")
    return folder == FOLDER and name.endswith(".jsonl") and "/" not in name
