"""Import on the local hub: what real cards and publish steps laid out comes back byte for byte."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.localhub import LocalHub
from tests.release.lab import client, journal
from tests.stages.card.made import Made, made
from tests.stages.publish.payloads import small
from variantforge.errors import IntegrityError, Interrupted, OutOfSpace, Refused, UsageError
from variantforge.plan.plan import Plan
from variantforge.release.desired import desired_of
from variantforge.release.found import find_release
from variantforge.release.planning import plan_release
from variantforge.release.rebuild import rebuild
from variantforge.release.transaction import release
from variantforge.release.work import Silent
from variantforge.stages.stage import Place
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal
from variantforge.store.manifest import Manifest

INDEX = "acme/quick"
HUB = {"publish": {"to": "hub", "namespace": "acme"}}


def bare(place: Place, folder: Path) -> None:
    """Payloads without what a library would try to load."""
    small(place, folder)
    for path in [*folder.rglob("config.json"), *folder.rglob("tokenizer.json")]:
        path.unlink()


class Lab(NamedTuple):
    family: Made
    plan: Plan
    store: Store
    folder: Path

    def release(self, hub: LocalHub, **more: Any) -> None:
        speaker = client(hub)
        release(plan_release(desired_of(self.plan, self.store), speaker, **more), speaker, journal(self.folder))

    def import_(self, hub: LocalHub, *, plan: bool = True, store: Store | None = None) -> list[str]:
        found = find_release(client(hub), INDEX)
        stop = threading.Event()
        store = store or self.store
        return rebuild(found, store, journal(self.folder), self.plan if plan else None, Silent(), stop)

    @property
    def published(self) -> dict[str, bytes]:
        """Every byte of the publish artifacts, but for manifests: those hold times."""
        root = self.store.root / "publish"
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "manifest.json"]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(files)}

    def lose(self) -> None:
        shutil.rmtree(self.store.root / "publish")


def laid_out(folder: Path, changes: dict[str, Any] | None = None, **more: Any) -> Lab:
    """A family whose cards and publications were really done, in a store as the runner leaves one."""
    family = made(folder, HUB | (changes or {}), fill=bare, **more)
    for place in [place for place in family.desk.places if place.stage == "publish"]:
        step = family.step(*place)
        if not any(family.do("card", place.variant, place.name).refusal for _ in (step,)):
            family.do(*place)
    for key, artifact in family.artifacts.items():
        if artifact.path.parent.name == "publish":
            Manifest.of_folder(artifact.path, family.desk.steps[key], {}).write(artifact.path)
    return Lab(family, Plan(family.family, family.desk.steps, family.desk.places), Store(family.store), folder)


@pytest.fixture
def lab(hub: LocalHub, tmp_path: Path) -> Lab:
    lab = laid_out(tmp_path)
    lab.release(hub)
    return lab


@pytest.mark.parametrize("with_plan", [True, False])
def test_every_artifact_comes_back_byte_for_byte(hub: LocalHub, lab: Lab, with_plan: bool) -> None:
    before = lab.published
    assert len(before) > 20
    lab.lose()
    written = len(hub.writes)
    assert lab.import_(hub, plan=with_plan) == []
    assert lab.published == before
    for place, key in lab.plan.places.items():
        if place.stage == "publish":
            lab.store.verified(lab.plan.steps[key])
    assert len(hub.writes) == written


def test_after_an_import_a_release_has_nothing_to_do(hub: LocalHub, lab: Lab) -> None:
    lab.lose()
    lab.import_(hub)
    assert plan_release(desired_of(lab.plan, lab.store), client(hub)).nothing_to_do


def test_what_people_added_is_not_taken_for_ours(hub: LocalHub, lab: Lab) -> None:
    """Words of people stood in the card when the next version was released over it."""
    card = hub.read("acme/Small-code", "README.md")
    hub.commit_as_stranger("acme/Small-code", {"README.md": card + b"\nWe like it.\n", "photo.txt": b"x"})
    lab = laid_out(lab.folder, {"version": "1.3.0", "description": "Now better."})
    lab.release(hub)
    before = lab.published
    lab.lose()
    assert lab.import_(hub) == []
    assert lab.published == before


def test_withheld_files_and_their_reasons_come_back(hub: LocalHub, tmp_path: Path) -> None:
    lab = laid_out(tmp_path, refused=frozenset({"code/gguf:Q4_K_M"}))
    lab.release(hub)
    before = lab.published
    lab.lose()
    assert lab.import_(hub) == []
    assert lab.published == before
    assert any(b"worse than base" in content for name, content in before.items() if name.endswith("facts.json"))


def test_a_repo_that_a_gate_kept_back_is_told_as_missing(hub: LocalHub, tmp_path: Path) -> None:
    lab = laid_out(tmp_path, refused=frozenset({"code/nf4"}))
    for place, key in lab.plan.places.items():
        if place.stage == "card" and key in lab.family.artifacts:
            Manifest.of_folder(lab.store.root / "card" / key, lab.plan.steps[key], {}).write(
                lab.store.root / "card" / key
            )
    lab.release(hub)
    before = lab.published
    lab.lose()
    (missing,) = lab.import_(hub)
    assert missing.startswith("acme/Small-code-nf4: a gate kept it back")
    assert lab.published == before


def test_the_base_is_known_by_the_commit_that_adapters_name(hub: LocalHub, lab: Lab) -> None:
    assert find_release(client(hub), INDEX).bases == {"acme/Small-135M": f"{'c0ffee' * 6}abcd"}


def test_a_second_import_fetches_nothing(hub: LocalHub, lab: Lab) -> None:
    lab.lose()
    lab.import_(hub)
    assert find_release(client(hub), INDEX).wanted(lab.store) == []
    manifests = {path: path.stat().st_mtime_ns for path in lab.store.root.rglob("manifest.json")}
    lab.import_(hub)
    assert {path: path.stat().st_mtime_ns for path in lab.store.root.rglob("manifest.json")} == manifests


def test_the_page_is_not_taken_for_that_of_another_family_file(hub: LocalHub, lab: Lab) -> None:
    other = laid_out(lab.folder, {"description": "Other words."})
    empty = Store(lab.folder / "empty")
    found = find_release(client(hub), INDEX)
    missing = rebuild(found, empty, journal(lab.folder), other.plan, Silent(), threading.Event())
    assert missing == ["the family page: the family file is not that of this release"]
    assert empty.find(other.family.step("publish", None, "family")) is None


def test_places_and_verified_commits_are_remembered(hub: LocalHub, lab: Lab) -> None:
    store = Store(lab.folder / "fresh")
    lab.import_(hub, store=store)
    used = Journal(store.root / "journal.sqlite").used("quick")
    assert set(used) == {place for place in lab.plan.places if place.stage == "publish"}
    assert all(used[place].key == lab.plan.places[place] for place in used)
    (past, *_) = journal(lab.folder).history("quick")
    assert (past["version"], past["phase"]) == ("1.2.0", "done")


def test_a_byte_that_is_not_the_released_one_is_refused(hub: LocalHub, lab: Lab) -> None:
    sha256 = hub.repo("acme/Small-code").entries("main")["model.safetensors"].sha256
    assert sha256 is not None
    path = hub.storage.open_path(sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    lab.lose()
    with pytest.raises(IntegrityError, match="serves other bytes"):
        lab.import_(hub)
    assert lab.store.find(lab.family.step("publish", "code", "merged")) is None


def test_a_release_that_no_longer_stands_is_refused(hub: LocalHub, lab: Lab) -> None:
    shutil.rmtree(hub.repo("acme/Small-code").path)
    hub.create_repo("models", "acme/Small-code")
    with pytest.raises(IntegrityError, match=r"is not what 1\.2\.0 released"):
        find_release(client(hub), INDEX)


def test_a_recipe_that_does_not_make_its_key_is_not_believed(hub: LocalHub, lab: Lab) -> None:
    from variantforge.release.found import step_of
    from variantforge.release.record import LINEAGE, parse_lineage

    data = hub.read("acme/Small-code", LINEAGE)
    assert step_of(parse_lineage(data, "")) is not None
    told = json.loads(data)
    for spoilt in (
        {},
        {"recipe": {}},
        {"recipe": []},
        {"made_from": {"card": "x"}},
        {"step": 3},
        {"repo": "acme/other"},
    ):
        document = {key: value for key, value in told.items() if spoilt or key != "recipe"} | spoilt
        assert step_of(parse_lineage(json.dumps(document).encode(), "")) is None, spoilt


def test_a_stopped_import_goes_on_with_what_it_has(hub: LocalHub, lab: Lab) -> None:
    before = lab.published
    lab.lose()

    class StopAfter(threading.Event):
        left = 5

        def is_set(self) -> bool:
            self.left -= 1
            return self.left < 0

    found = find_release(client(hub), INDEX)
    with pytest.raises(Interrupted, match="what was fetched is kept"):
        rebuild(found, lab.store, journal(lab.folder), lab.plan, Silent(), StopAfter())
    kept = [path for path in (lab.store.root / "scratch").rglob("*") if path.is_file()]
    assert kept
    asked = len(hub.log)
    lab.import_(hub)
    fetched = [entry.path for entry in list(hub.log)[asked:] if "/resolve/" in entry.path]
    assert not any(path.endswith(f"/{kept[0].name}") and kept[0].name.endswith(".safetensors") for path in fetched)
    assert lab.published == before
    assert not any((lab.store.root / "scratch").rglob("*.safetensors"))


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: LocalHub, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.lose()
    monkeypatch.setattr("variantforge.release.rebuild.free_bytes", lambda path: 10)
    asked = len(hub.log)
    with pytest.raises(OutOfSpace, match="are to be fetched"):
        lab.import_(hub)
    assert not any(".safetensors" in entry.path for entry in list(hub.log)[asked:])


def test_what_is_not_there_is_told_with_what_is(hub: LocalHub, lab: Lab) -> None:
    with pytest.raises(UsageError, match=r"no release 9\.0\.0") as unknown:
        find_release(client(hub), INDEX, version="9.0.0")
    assert unknown.value.why == "Released are: 1.2.0."
    with pytest.raises(UsageError, match="there is no acme/nowhere"):
        find_release(client(hub), "acme/nowhere")


def test_an_adopted_repo_is_taken_over_and_its_files_are_kept(hub: LocalHub, tmp_path: Path) -> None:
    lab = laid_out(tmp_path)
    theirs = {"README.md": b"# Made by hand\n", "model.safetensors": b"old", "photo.txt": b"x"}
    repo = hub.create_repo("models", "acme/Small-code")
    repo.commit("refs/heads/main", theirs, hub.signature("alice"), "By hand")
    with pytest.raises(Refused, match="has not made them"):
        lab.release(hub)
    releases = journal(tmp_path)
    releases.adopt(INDEX, "acme/Small-code")
    assert journal(tmp_path).adopted(INDEX) == {"acme/Small-code"}
    assert releases.adopted("acme/other") == frozenset()
    lab.release(hub, adopt=releases.adopted(INDEX))
    assert hub.read("acme/Small-code", "photo.txt") == b"x"
    assert b"# Made by hand" in hub.read("acme/Small-code", "README.md")
    assert hub.read("acme/Small-code", "model.safetensors").startswith(b"weights of")
    assert lab.import_(hub, store=Store(tmp_path / "fresh")) == []
