"""What a release would write, decided from values alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.release.lab import INDEX, MERGED, WEIGHTS, changed, desired, lay_out
from variantforge.hashing import text_digest
from variantforge.release.changes import (
    Changes,
    Create,
    MetadataOnly,
    RepoChange,
    Update,
    changes_of,
    collection_changes,
)
from variantforge.release.desired import Desired, DesiredRepo
from variantforge.release.hub import (
    CollectionItem,
    RemoteCollection,
    RemoteFile,
    RemoteRepo,
    git_blob_oid,
)
from variantforge.release.observed import Observed, ObservedRepo
from variantforge.release.planning import NOT_YET
from variantforge.release.record import LINEAGE, Index, Record, Released, parse_lineage
from variantforge.release.snapshot import Snapshot, difference
from variantforge.release.versions import next_free

HEAD, STAGED = "1" * 40, "2" * 40


def snapshot(repo: DesiredRepo, oid: str = HEAD, **edits: bytes | None) -> Snapshot:
    """A revision that holds the files of a repo as laid out, but for edits (None: taken away)."""
    texts = {path: file.path.read_bytes() for path, file in repo.files.items()}
    texts |= {name.replace("__", "."): content for name, content in edits.items() if content is not None}
    kept = {path: text for path, text in texts.items() if edits.get(path.replace(".", "__"), b"") is not None}
    files = {path: RemoteFile(path, len(text), git_blob_oid(text)) for path, text in kept.items()}
    data = kept.get(LINEAGE)
    lineage = parse_lineage(data, "it") if data else None
    return Snapshot(
        repo.repo, oid, files, kept["README.md"].decode(), lineage, lineage.tree(data) if data and lineage else ""
    )


def observed(repo: DesiredRepo, head: Snapshot | None, record: Record | None = None) -> Observed:
    remote = RemoteRepo(repo.repo, False, "no", {"main": HEAD}, {"v1.0.0": STAGED})
    there = ObservedRepo(
        remote,
        head,
        True,
        snapshot(repo, STAGED),
        difference(snapshot(repo), head) if head else difference(snapshot(repo), snapshot(repo)),
    )
    records = {"stable": record} if record else {}
    return Observed(INDEX, "stable", None, records, {repo.repo: there})  # type: ignore[arg-type]


def record(wanted: Desired, commit: str = NOT_YET) -> Record:
    repos = {name: Released(commit, repo.tree, "1.0.0") for name, repo in wanted.repos.items()}
    return Record(wanted.family, wanted.version, "stable", Index(INDEX, {}), repos, collection=wanted.collection)


def change(wanted: Desired, head: Snapshot | None) -> RepoChange:
    repo = wanted.repos[MERGED]
    seen = observed(repo, head) if head else Observed(INDEX, "stable", None, {}, {MERGED: None})
    (only,) = changes_of(record(wanted), dict(wanted.repos), {}, seen).repos
    return only


@pytest.fixture
def family(tmp_path: Path) -> Desired:
    return desired(tmp_path, contents={MERGED: WEIGHTS[MERGED]})


def test_a_repo_that_is_not_there_is_created_with_all_its_files(family: Desired) -> None:
    action = change(family, None).action
    assert isinstance(action, Create)
    assert action.files == ("README.md", "model.safetensors", "notes.txt", LINEAGE)
    assert action.upload_bytes == sum(file.size_bytes for file in family.repos[MERGED].files.values())


def test_an_empty_repo_is_created_too(family: Desired) -> None:
    assert (
        change(family, Snapshot(MERGED, HEAD, {".gitattributes": RemoteFile(".gitattributes", 1, "x")})).action.word
        == "create"
    )


def test_an_update_names_what_is_added_changed_and_removed(tmp_path: Path, family: Desired) -> None:
    old = lay_out(tmp_path / "old", MERGED, {"model.safetensors": b"old", "gone.txt": b"gone"})
    action = change(family, snapshot(old)).action
    assert type(action) is Update
    assert (action.added, action.removed) == (("notes.txt",), ("gone.txt",))
    assert action.changed == ("model.safetensors", LINEAGE)
    sizes = family.repos[MERGED].files
    assert action.upload_bytes == sum(sizes[path].size_bytes for path in ("notes.txt", "model.safetensors", LINEAGE))


def test_cards_and_licences_are_metadata_and_weights_are_not(tmp_path: Path, family: Desired) -> None:
    more = {"LICENSE": b"mit", ".eval_results/x.yaml": b"[]"}
    old = lay_out(tmp_path / "old", MERGED, {**WEIGHTS[MERGED], **more}, "# Other words")
    assert type(change(family, snapshot(old)).action) is MetadataOnly
    old = lay_out(tmp_path / "older", MERGED, {**WEIGHTS[MERGED], "config.json": b"{}"})
    assert type(change(family, snapshot(old)).action) is Update


def test_words_of_people_around_the_card_are_no_change(family: Desired) -> None:
    repo = family.repos[MERGED]
    text = repo.files["README.md"].path.read_bytes() + b"\nThanks!\n"
    assert not difference(snapshot(repo), snapshot(repo, README__md=text))
    assert difference(snapshot(repo), snapshot(repo, README__md=text.replace(b"# acme", b"# Acme"))).changed == (
        "README.md",
    )


def told(wanted: Desired, head: Snapshot) -> Changes:
    now = record(wanted, STAGED)
    return changes_of(now, {}, {}, observed(wanted.repos[MERGED], head, now))


def test_drift_is_an_action_of_its_own_and_foreign_files_are_not(family: Desired) -> None:
    repo = family.repos[MERGED]
    (same,) = told(family, snapshot(repo, theirs__txt=b"mine")).repos
    assert (same.action.word, same.foreign, same.drift) == ("unchanged", ("theirs.txt",), None)
    (drifted,) = told(family, snapshot(repo, notes__txt=None, model__safetensors=b"worse")).repos
    assert drifted.action.word == "drifted"
    assert drifted.drift is not None
    assert drifted.drift.files.paths == ("model.safetensors", "notes.txt")


def test_a_difference_is_empty_only_for_equal_managed_files(family: Desired) -> None:
    repo = family.repos[MERGED]
    for path in repo.files:
        name = path.replace(".", "__")
        if path != "README.md":
            assert difference(snapshot(repo), snapshot(repo, **{name: None})).missing == (path,)
        if path != LINEAGE:
            assert difference(snapshot(repo), snapshot(repo, **{name: b"other"})).changed == (path,)


def collection(*items: tuple[str, str], description: str = "Small things", private: bool = False) -> RemoteCollection:
    return RemoteCollection("acme/toys-1", "Toys", description, private, tuple(CollectionItem(*item) for item in items))


def test_a_collection_is_told_by_what_would_be_done_to_it(tmp_path: Path) -> None:
    wanted = record(desired(tmp_path))
    ours = [(item.repo, item.note) for item in wanted.collection.items] if wanted.collection else []
    first, second, third = ours
    cases: list[tuple[RemoteCollection | None, list[str]]] = [
        (None, ["create the collection 'Toys' with 3 repos"]),
        (collection(*ours), []),
        (collection(*ours, ("other/model", "")), []),
        (collection(first, second), [f"add {third[0]}"]),
        (collection((first[0], "x"), second, third), [f"describe {first[0]}"]),
        (collection(second, first, third), ["put our repos first, in the order of the family"]),
        (collection(("other/model", ""), *ours), ["put our repos first, in the order of the family"]),
        (collection(*ours, description="x"), ["change the description"]),
        (collection(*ours, private=True), ["make it public"]),
    ]
    for there, sentences in cases:
        assert list(collection_changes(wanted, there)) == sentences
    assert list(collection_changes(replace(wanted, collection=None), None)) == []


def test_a_refused_repo_is_not_put_into_the_collection(tmp_path: Path) -> None:
    wanted = record(desired(tmp_path))
    rest = {repo: released for repo, released in wanted.repos.items() if repo != MERGED}
    assert list(collection_changes(replace(wanted, repos=rest), None)) == ["create the collection 'Toys' with 2 repos"]


@pytest.mark.parametrize(
    ("version", "taken", "free"),
    [
        ("1.0.0", [], "1.0.1"),
        ("1.0.0", ["1.0.0", "1.0.7", "1.1.3", "2.0.0"], "1.0.8"),
        ("1.1.0-rc.1", ["1.1.0-rc.1"], "1.1.1"),
        ("1.0.0", ["1.0.10", "1.0.9", "nonsense"], "1.0.11"),
    ],
)
def test_the_next_free_version_is_a_patch_above_all_that_are_taken(version: str, taken: list[str], free: str) -> None:
    assert next_free(version, taken) == free


def test_a_tree_is_that_of_managed_parts(tmp_path: Path, family: Desired) -> None:
    repo = family.repos[MERGED]
    assert snapshot(repo).tree == repo.tree
    other = desired(tmp_path / "x", contents=changed({MERGED: WEIGHTS[MERGED]}, MERGED, "notes.txt", b"x")).repos[
        MERGED
    ]
    assert other.tree != repo.tree
    assert repo.files["README.md"].sha256 == text_digest(repo.files["README.md"].path.read_text())
