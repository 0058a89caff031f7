"""Phase 2, verify: what the Hub serves at each staged commit is what was measured, byte for byte."""

from __future__ import annotations

from pathlib import Path

from variantforge.errors import IntegrityError
from variantforge.fsops import make_folder, remove_tree, temp_sibling
from variantforge.release.desired import DesiredRepo
from variantforge.release.hub import RemoteFile
from variantforge.release.parallel import each
from variantforge.release.planning import ReleasePlan
from variantforge.release.snapshot import Snapshot
from variantforge.release.stage import staging_branch
from variantforge.release.work import Work
from variantforge.stages.card.repos import PAGE

_WEIGHTS = (".safetensors", ".gguf")
_SETTINGS = frozenset({"config.json", "tokenizer.json"})
_READERS = 4


def verify(work: Work, plan: ReleasePlan, staged: dict[str, str]) -> None:
    """Raises IntegrityError, after the staging branch is taken away: the next try stages anew."""
    todo = [repo for repo, oid in staged.items() if not work.journal.was_verified(repo, oid)]
    work.enter(plan.record, "verify", len(todo))
    if any(_SETTINGS & set(plan.staged[repo].files) for repo in todo):
        _import_loaders()

    def one(repo: str) -> None:
        work.check_stop()
        try:
            _verify_repo(work, plan.staged[repo], staged[repo])
        except IntegrityError:
            work.hub.delete_branch(repo, staging_branch(plan.record))
            raise
        work.journal.verified(repo, staged[repo])
        work.reporter.done("verify", repo, staged[repo])

    each(one, todo, workers=_READERS)


def _verify_repo(work: Work, wanted: DesiredRepo, oid: str) -> None:
    there = work.snapshots.at(wanted.repo, oid)
    wrong = sorted({*wanted.differing(there), *(there.managed_paths ^ set(wanted.files))})
    if wrong or there.tree != wanted.tree:
        raise IntegrityError(
            f"{wanted.repo} at {oid[:12]} does not hold what was sent: {', '.join(wrong) or 'its lineage'}",
            why="Nothing of this release can be seen; its branch was taken away.",
            next="run the same command again: it is staged anew",
        )
    folder = make_folder(temp_sibling(work.journal.path.parent / "readback"))
    try:
        for file in _read_back(there, wanted):
            work.check_stop()
            work.hub.download(wanted.repo, oid, file, folder / file.path)
        _load(folder, wanted.repo)
    finally:
        remove_tree(folder)


def _read_back(there: Snapshot, wanted: DesiredRepo) -> list[RemoteFile]:
    """Every file but the weights, and of those the smallest: its digest on the Hub was compared with ours already."""
    files = [there.files[path] for path in sorted(wanted.files) if path != PAGE]  # README.md was read with the tree
    weights = [file for file in files if file.path.endswith(_WEIGHTS)]
    smallest = sorted(weights, key=lambda file: file.size_bytes)[:1]
    return [file for file in files if file not in weights] + smallest


def _import_loaders() -> None:
    """Once, before there are threads: transformers' lazy modules are half there while another thread imports them."""
    from transformers import AutoConfig, AutoTokenizer  # noqa: F401


def _load(folder: Path, repo: str) -> None:
    """Loads settings and tokenizer from what came back, as users will; code from the repo is never run."""
    loaders = []
    if (folder / "config.json").exists():
        loaders.append("AutoConfig")
    if (folder / "tokenizer.json").exists() and (folder / "tokenizer_config.json").exists():
        loaders.append("AutoTokenizer")
    for loader in loaders:
        import transformers

        try:
            getattr(transformers, loader).from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # whatever a library finds wrong with these files
            raise IntegrityError(
                f"{repo} cannot be loaded from the Hub: {loader} refuses it",
                why=f"{type(error).__name__}: {error}",
                next="run the same command again; if it fails again, look at that repo's folder in the store",
            ) from error
