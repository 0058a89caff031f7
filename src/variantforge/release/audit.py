"""Whether a release is what it says it is: for anybody, from the Hub alone, without a family file or a token.

release.json names a commit and a tree digest for every repo; variantforge.json at that commit names the digest of every
managed file; the tree digest binds the two. Small files are always read; of LFS and Xet files the Hub's own sha256 is
compared, and with ``download`` every byte is read as well.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Interrupted, NotOnHub, UsageError
from variantforge.fsops import make_folder, remove_tree, temp_sibling
from variantforge.hashing import bytes_digest, file_digest
from variantforge.release.hub import Hub, RemoteRepo
from variantforge.release.lock.record import Lock
from variantforge.release.lock.rests import fault_of, not_in_lock, pins_told
from variantforge.release.observed import read_record
from variantforge.release.parallel import each
from variantforge.release.record import FileDigest, Lineage, Record, is_version, tag_of
from variantforge.release.snapshot import Snapshot, Snapshots
from variantforge.release.versions import version_order
from variantforge.release.work import Reporter, Silent
from variantforge.stages.card.repos import PAGE

_READERS = 4


@dataclass(frozen=True)
class Fault:
    """``what`` is a clause about ``repo``."""

    repo: str
    what: str
    path: str = ""


@dataclass(frozen=True)
class Checked:
    """One repo: how many managed files were compared, and how many bytes of them were read."""

    repo: str
    commit: str
    files: int
    read_bytes: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Audit:
    """``revision``: the commit of the index repo that release.json was read at."""

    record: Record
    revision: str
    repos: tuple[Checked, ...]
    index_faults: tuple[Fault, ...]

    @property
    def faults(self) -> list[Fault]:
        return [*self.index_faults, *(fault for repo in self.repos for fault in repo.faults)]

    @property
    def files(self) -> int:
        return sum(repo.files for repo in self.repos)

    @property
    def read_bytes(self) -> int:
        return sum(repo.read_bytes for repo in self.repos)

    @property
    def document(self) -> dict[str, Any]:
        """Stable fields; new ones may come, none of these go."""
        record = self.record
        return {
            "index": record.index.repo,
            "revision": self.revision,
            "family": record.family,
            "version": record.version,
            "channel": record.channel,
            "release": record.id,
            "ok": not self.faults,
            "repos": [
                {"repo": it.repo, "commit": it.commit, "files": it.files, "read_bytes": it.read_bytes}
                for it in self.repos
            ],
            "faults": [asdict(fault) for fault in self.faults],
        }


def audit(
    hub: Hub,
    index_repo: str,
    version: str = "",
    *,
    download: Path | None = None,
    lock: Lock | None = None,
    reporter: Reporter | None = None,
    stop: threading.Event | None = None,
) -> Audit:
    """Checks the release that ``version``'s tag holds, or the stable one. ``download``: a folder to read through.
    ``lock``: every base and dataset that a repo names must be one that it holds.

    Raises UsageError where there is no such release, IntegrityError where release.json itself is not one of ours,
    HubError, Interrupted.
    """
    remote, revision, record = _release(hub, index_repo, version)
    snapshots, reporter = Snapshots(hub), reporter or Silent()
    reporter.phase("verify", len(record.repos))

    def one(repo: str) -> Checked:
        checked = _Reading(hub, snapshots, record, repo, download, stop or threading.Event(), lock).check()
        reporter.done("verify", repo, f"{checked.files} files")
        return checked

    repos = each(one, record.repos, workers=_READERS)
    return Audit(record, revision, tuple(repos), tuple(_of_index(hub, snapshots, remote, record, revision, version)))


def _release(hub: Hub, index_repo: str, version: str) -> tuple[RemoteRepo, str, Record]:
    remote = hub.repo(index_repo)
    if remote is None:
        raise NotOnHub(
            f"there is no {index_repo}, or it is hidden from this token",
            next=f"look at {hub.page(index_repo)}; for a private one: hf auth login",
        )
    revision = remote.tags.get(tag_of(version)) if version else remote.branches.get("main")
    record = read_record(hub, index_repo, revision) if revision else None
    if revision is None or record is None:
        tags = [tag[1:] for tag in remote.tags if tag[:1] == "v" and is_version(tag[1:])]
        known = ", ".join(sorted(tags, key=version_order))
        raise UsageError(
            f"{index_repo} holds no release{f' {version}' if version else ''}",
            why=f"Released are: {known or 'none'}.",
            next=f"vf verify {index_repo}{f'@{known.rpartition(chr(32))[2]}' if known else ''}",
        )
    return remote, revision, record


def _of_index(
    hub: Hub, snapshots: Snapshots, remote: RemoteRepo, record: Record, revision: str, version: str
) -> Iterator[Fault]:
    repo = remote.id
    if record.index.repo != repo:
        yield Fault(repo, f"its release.json is that of {record.index.repo}")
    if version and record.version != version:
        yield Fault(repo, f"the tag {tag_of(version)} holds the release {record.version}")
    if not version:
        yield from _index_tag(hub, remote, record)
    there = snapshots.at(repo, revision)
    for path, digest in record.index.files.items():
        if path not in there.files:
            yield Fault(repo, "a file of the release is missing", path)
        elif (there.card if path == PAGE else bytes_digest(hub.read(repo, revision, path))) != digest:
            yield Fault(repo, "has other content than release.json names", path)


def _index_tag(hub: Hub, remote: RemoteRepo, record: Record) -> Iterator[Fault]:
    at = remote.tags.get(record.tag)
    if at is None:
        yield Fault(remote.id, f"has no tag {record.tag}")
        return
    try:
        tagged = read_record(hub, remote.id, at)
    except IntegrityError as error:
        yield Fault(remote.id, f"the tag {record.tag}: {error.what}")
        return
    if tagged is None or tagged.version != record.version or not tagged.same_content(record):
        yield Fault(remote.id, f"the tag {record.tag} does not hold this release")


class _Reading:
    """One repo of a release, read at its commit."""

    def __init__(
        self,
        hub: Hub,
        snapshots: Snapshots,
        record: Record,
        repo: str,
        download: Path | None,
        stop: threading.Event,
        lock: Lock | None,
    ) -> None:
        self.hub, self.snapshots, self.record, self.repo = hub, snapshots, record, repo
        self.download, self.stop, self.lock = download, stop, lock
        self.released = record.repos[repo]
        self.files = self.read_bytes = 0

    def check(self) -> Checked:
        faults = tuple(self._faults())
        return Checked(self.repo, self.released.commit, self.files, self.read_bytes, faults)

    def _faults(self) -> Iterator[Fault]:
        remote = self.hub.repo(self.repo)
        if remote is None:
            yield Fault(self.repo, "is not there, or is hidden from this token")
            return
        at = remote.tags.get(self.record.tag)
        if at != self.released.commit:
            yield Fault(self.repo, f"its tag {self.record.tag} {f'points at {at[:12]}' if at else 'is missing'}")
        try:
            there = self.snapshots.find(self.repo, self.released.commit)
        except IntegrityError as error:  # its card or lineage came back with other bytes; the other repos are looked at
            yield Fault(self.repo, error.what)
            return
        if there is None:
            yield Fault(self.repo, f"has no commit {self.released.commit[:12]}: its history was rewritten")
        elif there.lineage is None:
            yield Fault(self.repo, there.unreadable or "has no variantforge.json at its commit")
        elif there.tree != self.released.tree:
            yield Fault(self.repo, f"its variantforge.json makes the tree {there.tree[:12]}, not the released one")
        else:
            yield from self._of_pins(there.lineage)
            yield from self._of_files(there, there.lineage)

    def _of_pins(self, lineage: Lineage) -> Iterator[Fault]:
        if what := fault_of(lineage):
            yield Fault(self.repo, what)
        elif self.lock and (pins := pins_told(lineage)):
            yield from (Fault(self.repo, f"rests on {it}, which is not locked") for it in not_in_lock(pins, self.lock))
        elif self.lock:
            yield Fault(self.repo, "does not tell what it rests on")

    def _of_files(self, there: Snapshot, lineage: Lineage) -> Iterator[Fault]:
        for path, digest in lineage.files.items():
            if self.stop.is_set():
                raise Interrupted("stopped while verifying", next="run the same command again: it begins anew")
            self.files += 1
            if path not in there.files:
                yield Fault(self.repo, "a file of the release is missing", path)
            elif problem := self._problem(there, path, digest):
                yield Fault(self.repo, problem, path)

    def _problem(self, there: Snapshot, path: str, digest: FileDigest) -> str:
        remote = there.files[path]
        if path == PAGE:
            return "" if there.card == digest.sha256 else "our part of it is not the released one"
        if remote.size_bytes != digest.size_bytes:
            return f"has {remote.size_bytes:,} bytes, not {digest.size_bytes:,}"
        if remote.sha256 and remote.sha256 != digest.sha256:
            return f"its sha256 is {remote.sha256[:12]}, not {digest.sha256[:12]}"
        if remote.sha256 and self.download is None:
            return ""
        return self._read(there, path, digest)

    def _read(self, there: Snapshot, path: str, digest: FileDigest) -> str:
        """Reads every byte that the Hub serves: small files into memory, others through the disk."""
        remote = there.files[path]
        self.read_bytes += remote.size_bytes
        try:
            if remote.sha256 is None:
                found = bytes_digest(self.hub.read(self.repo, there.oid, path))
            else:
                found = self._downloaded(there, path)
        except IntegrityError as error:
            return error.what
        return "" if found == digest.sha256 else "the Hub serves other bytes than were released"

    def _downloaded(self, there: Snapshot, path: str) -> str:
        assert self.download is not None
        folder = make_folder(temp_sibling(self.download / "file"))
        try:
            return file_digest(self.hub.download(self.repo, there.oid, there.files[path], folder / "bytes"))
        finally:
            remove_tree(folder)


def problem_of(found: Audit) -> IntegrityError:
    """The whole of what was found wrong, as one letter."""
    faults = found.faults
    told = [f"{it.repo}{f': {it.path}' if it.path else ''} {it.what}" for it in faults]
    return IntegrityError(
        f"{found.record.index.repo} {found.record.version} is not what it says: {len(faults)} differences",
        why="\n".join(told),
        next="tell its owners; until they answer, use a version that verifies",
    )
