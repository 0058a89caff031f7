"""Publishing into a local folder: one folder per repo, built aside and moved in whole; the family page beside them.

What somebody else put there is never overwritten: a folder without our manifest is refused; files added to ours
are carried over; files of ours that were edited are replaced, and the edited ones kept under another name. What people
write into a README.md outside of our markers stays where it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Interrupted, PublishError
from variantforge.fsops import (
    copy_file,
    link_or_copy,
    make_folder,
    move_in,
    read_small,
    remove_tree,
    temp_sibling,
    write_text,
)
from variantforge.hashing import bytes_digest, file_digest, text_digest
from variantforge.stages.card.repos import PAGE, PAGE_MANIFEST
from variantforge.stages.gate.outcomes import FOLDER
from variantforge.stages.publish.places import (
    folder_of,
    manifest_in,
    problem_at,
    published_at,
    published_before,
    root_of,
    stands,
    telling_where,
    temps_of,
)
from variantforge.stages.publish.readme import is_as_published, with_peoples_words
from variantforge.stages.publish.release import MANIFEST, Content, Digest, digest_of
from variantforge.stages.stage import Desk
from variantforge.step import Artifact, Step, StepContext

_SMALL_BYTES = 1 << 20  # files people edit by hand; larger ones are compared by size alone


class Folder:
    """``publish.to: folder``."""

    at_key = "publish.path"

    def hints(self, desk: Desk) -> dict[str, Any]:
        return {"folder": published_at(desk.folder, desk.family.publish.path)}

    def family_params(self, desk: Desk) -> dict[str, Any]:
        return {}

    def looks_at(self, step: Step) -> tuple[str, ...]:
        folder, thing, manifest = stands(step)
        return (folder, thing, manifest) if folder != thing else (folder,)

    def problem(self, step: Step) -> str:
        return problem_at(step)

    def publish_repo(self, context: StepContext, files: Mapping[str, Content], digests: Mapping[str, Digest]) -> None:
        folder = folder_of(context.step)
        with telling_where(folder):
            self._refuse_foreign(context.step)
            make_folder(folder.parent)
            before = published_before(folder)
            built = temp_sibling(folder)
            try:
                _fill(built, context, files, digests)
                _carry_over(before, built, files, context)
                write_text(built / MANIFEST, str(files[MANIFEST]))
                move_in(built, folder)
            finally:
                remove_tree(built)
            for left in temps_of(folder):
                remove_tree(left)

    def publish_page(
        self, context: StepContext, page: str, facts: Mapping[str, Any], outcomes: Mapping[str, str]
    ) -> dict[str, Any]:
        root = root_of(context.step)
        kept = {f"{FOLDER}/{context.step.params['version']}/{name}": text for name, text in outcomes.items()}
        files = {name: digest_of(text) for name, text in {PAGE: page, **kept}.items()}
        with telling_where(root):
            make_folder(root)
            manifest = _page_manifest(context.step, facts, files)
            _keep_edited_page(root, page, context)
            texts = {PAGE: with_peoples_words(page, root / PAGE), PAGE_MANIFEST: manifest}
            _keep_outcomes(root, context.step, kept)
            # A kill between the two: the first time, the manifest alone says that the place is ours; later, the new
            # page under the old manifest is known by being the one that is to be written.
            for name in (PAGE, PAGE_MANIFEST) if (root / PAGE_MANIFEST).exists() else (PAGE_MANIFEST, PAGE):
                write_text(root / name, texts[name])
                for left in temps_of(root / name):
                    remove_tree(left)
        return {"repo": None, "files": {**files, PAGE_MANIFEST: digest_of(manifest)}}

    def stale(self, step: Step, artifact: Artifact) -> str:
        files: dict[str, Digest] = artifact.facts["files"]
        is_page = step.params["form"] == "family"
        folder, _, manifest = stands(step)
        at, shown = os.path.join(folder, ""), "/".join(Path(folder).parts[-1 if is_page else -2 :])
        if not os.path.isdir(at):  # noqa: PTH112  a plan asks this of thousands of files: texts, not paths
            return f"{shown} is gone"
        for name, digest in files.items():
            try:
                size_bytes = os.stat(at + name).st_size  # noqa: PTH116
            except OSError:
                return f"{shown}/{name} is gone"
            if size_bytes != digest["size_bytes"] and not _written_around(at, name, digest):
                return f"{shown}/{name} is not what was published ({size_bytes:,} bytes, not {digest['size_bytes']:,})"
        for name in files if is_page else (manifest.removeprefix(at),):
            changed = bytes_digest(read_small(at + name)) != files[name]["sha256"]
            if changed and not _written_around(at, name, files[name]):
                return f"{shown}/{name} is not what was published"
        return ""

    def _refuse_foreign(self, step: Step) -> None:
        folder = folder_of(step)
        if problem := self.problem(step):
            raise PublishError(problem, next="move it away, or choose another publish.path or publish.repo")
        owner = manifest_in(folder / MANIFEST).get("family", step.params["family"])
        if owner != step.params["family"]:
            raise PublishError(
                f"{folder} belongs to the family '{owner}'",
                why="One folder cannot hold the same repo of two families.",
                next="choose another publish.path or publish.repo",
            )


def _fill(built: Path, context: StepContext, files: Mapping[str, Content], digests: Mapping[str, Digest]) -> None:
    """Copies every file and reads the copy again: what is published is what was measured. Raises IntegrityError."""
    total, done = sum(digest["size_bytes"] for digest in digests.values()), 0
    for name, digest in digests.items():
        if context.stopping():
            raise Interrupted("stopped while publishing; the folder published before is untouched")
        content = files[name]
        if isinstance(content, str):
            write_text(built / name, content)
        else:
            copy_file(content, built / name)
        if file_digest(built / name) != digest["sha256"]:
            raise IntegrityError(f"the copy of {name} differs from what was to be published", next="run it again")
        done += digest["size_bytes"]
        context.progress(done, total, "bytes", file=name)


def _carry_over(before: Path | None, built: Path, files: Mapping[str, Content], context: StepContext) -> None:
    """Brings along what people added, and their edits of our files, under another name."""
    if before is None:
        return
    published: dict[str, Digest] = manifest_in(before / MANIFEST).get("files", {})
    added, edited = [], []
    for path in sorted(before.rglob("*")):
        name = path.relative_to(before).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PublishError(
                f"{before / name} is a link or no regular file, and not ours",
                next="move it out of the published folder",
            )
        if path.is_dir() or name == MANIFEST:
            continue
        if name not in published and name not in files:
            added.append(name)
            link_or_copy(path, built / name)
        elif name not in published or _differs(path, name, published[name]):
            kept = f"{name}.edited-{file_digest(path)[:8]}"
            edited.append(kept)
            link_or_copy(path, built / kept)
    if PAGE in files:
        write_text(built / PAGE, with_peoples_words((built / PAGE).read_text(), before / PAGE))
    if added:
        context.note(f"kept what was added to {folder_of(context.step).name}: {', '.join(added)}")
    if edited:
        context.note(f"replaced files that had been edited; the edited ones are kept as {', '.join(edited)}")


def _written_around(folder: str, name: str, digest: Digest) -> bool:
    return name == PAGE and is_as_published(Path(folder, name), digest["sha256"])


def _differs(path: Path, name: str, digest: Digest) -> bool:
    if _written_around(str(path.parent), name, digest):
        return False
    size_bytes = path.stat().st_size
    return size_bytes != digest["size_bytes"] or (size_bytes <= _SMALL_BYTES and file_digest(path) != digest["sha256"])


def _keep_outcomes(root: Path, step: Step, files: Mapping[str, str]) -> None:
    """What was measured of every item, beside that of other versions; of this one, nothing else stays."""
    folder = root / FOLDER / step.params["version"]
    for name, text in files.items():
        make_folder(folder)
        write_text(root / name, text)
    for path in folder.glob("*.jsonl*") if folder.is_dir() else ():
        if f"{FOLDER}/{folder.name}/{path.name}" not in files:
            remove_tree(path)


def _page_manifest(step: Step, facts: Mapping[str, Any], files: Mapping[str, Digest]) -> str:
    """``family.json``: the digests of the page and of what was measured of every item, and, for every repo, its
    manifest's or why it is withheld.

    Raises PublishError when a repo that may ship does not lie here as this release has it.
    """
    repos = []
    for repo in facts["repos"]:
        folder = root_of(step) / repo["repo"].rpartition("/")[2]
        if not repo["refusal"]:
            if manifest_in(folder / MANIFEST).get("made_from", {}).get("card") != repo["card"]:
                raise PublishError(
                    f"the family page is not written: {folder.name} does not lie beside it as this release has it",
                    why="The page links only what is published.",
                    next="run variantforge apply for the whole family again",
                )
            repo = repo | {"manifest_sha256": file_digest(folder / MANIFEST)}
        repos.append(repo | {"folder": folder.name})
    manifest = {
        "made_by": "variantforge",
        "format": 1,
        **{name: step.params[name] for name in ("family", "version")},
        "title": facts["title"],
        "step": step.key,
        "repos": repos,
        "files": dict(files),
    }
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _keep_edited_page(root: Path, page: str, context: StepContext) -> None:
    """An edited page is kept under another name; a foreign one is not touched. Raises PublishError for that."""
    there, manifest = root / PAGE, manifest_in(root / PAGE_MANIFEST)
    if not there.exists() or is_as_published(there, text_digest(page)):
        return
    if manifest.get("family") != context.step.params["family"]:
        problem = f"{there} is there already and is not the page of this family; it will not be overwritten"
        raise PublishError(problem, next="move it away, or choose another publish.path")
    if not is_as_published(there, manifest.get("files", {}).get(PAGE, {}).get("sha256", "")):
        kept = root / f"{PAGE}.edited-{file_digest(there)[:8]}"
        link_or_copy(there, kept) if not kept.exists() else None
        context.note(f"{PAGE} had been edited; it is replaced, and the edited one kept as {kept.name}")
