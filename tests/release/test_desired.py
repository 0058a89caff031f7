"""What the Hub shall hold, read off a plan and a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.release.lab import FAMILY, INDEX, MERGED, lay_out
from variantforge.errors import PublishError, UsageError
from variantforge.fsops import write_json
from variantforge.plan.plan import Plan
from variantforge.release.desired import desired_of
from variantforge.release.record import LINEAGE, Item, parse_lineage
from variantforge.stages.card.managed import card_text
from variantforge.stages.stage import Place
from variantforge.step import FACTS, Step
from variantforge.store.artifacts import Store

PUBLISHED, CARD, PAGE = (
    Place("publish", "code", "merged"),
    Place("card", "code", "merged"),
    Place("publish", None, "family"),
)
COLLECTION = {"title": "Toys", "description": "Small", "items": [{"repo": MERGED, "note": "take this"}]}


def planned(method: str = "hub", version: str = "1.0.0") -> Plan:
    params = {"family": FAMILY, "version": version, "channel": "stable", "visibility": "public", "gated": "no"}
    steps = {
        CARD: Step("card", 1, "merged"),
        PUBLISHED: Step("publish", 1, method, {"repo": MERGED}),
        PAGE: Step("publish", 1, method, params),
    }
    places = {place: step.key for place, step in steps.items()}
    names: Any = SimpleNamespace(family=FAMILY, version=version, variants={"code": None})
    return Plan(names, {step.key: step for step in steps.values()}, places)


def put(store: Store, plan: Plan, place: Place, facts: Mapping[str, Any], files: Path | None = None) -> None:
    step = plan.steps[plan.places[place]]
    with store.building(step) as (out, _):
        if files:
            files.rename(out / "repo")
        write_json(out / FACTS, dict(facts))
        store.commit(step, out, {})


def store_of(tmp_path: Path, plan: Plan, *, card: str = "", published: bool = True) -> Store:
    store = Store(tmp_path / "store")
    put(store, plan, CARD, {"refusal": card})
    if published:
        laid = lay_out(tmp_path, MERGED, {"model.safetensors": b"weights"})
        put(store, plan, PUBLISHED, {"repo": MERGED, "files": {}}, laid.files[LINEAGE].path.parent)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "README.md").write_text(card_text({"license": "mit"}, "# Toys"))
    put(store, plan, PAGE, {"repo": INDEX, "files": {"README.md": {}}, "collection": COLLECTION}, tmp_path / "page")
    return store


def test_every_file_laid_out_is_wanted_with_its_digest(tmp_path: Path) -> None:
    plan = planned()
    wanted = desired_of(plan, store_of(tmp_path, plan))
    (repo,) = wanted.repos.values()
    assert set(repo.files) == {"README.md", "model.safetensors", LINEAGE}
    assert repo.files["model.safetensors"].path.read_bytes() == b"weights"
    data = repo.files[LINEAGE].path.read_bytes()
    assert repo.tree == parse_lineage(data, "it").tree(data)
    assert (wanted.version, wanted.channel, wanted.index.repo) == ("1.0.0", "stable", INDEX)
    assert wanted.collection is not None
    assert wanted.collection.items == (Item(MERGED, "take this"),)


def test_a_repo_that_a_gate_refused_is_named_and_not_wanted(tmp_path: Path) -> None:
    plan = planned()
    why = "heldout.loss is too high" * 1000
    wanted = desired_of(plan, store_of(tmp_path, plan, card=why, published=False))
    assert (dict(wanted.repos), dict(wanted.refused)) == ({}, {MERGED: why[:2000]})


def test_a_repo_that_is_not_laid_out_stops_the_release(tmp_path: Path) -> None:
    plan = planned()
    with pytest.raises(PublishError, match="publish code merged is not done"):
        desired_of(plan, store_of(tmp_path, plan, published=False))


def test_a_folder_that_is_not_what_its_lineage_says_is_not_released(tmp_path: Path) -> None:
    plan = planned()
    store = store_of(tmp_path, plan)
    readme = store.folder(plan.steps[plan.places[PUBLISHED]]) / "repo" / "README.md"
    readme.write_text(readme.read_text().replace("#", "##"))
    with pytest.raises(PublishError, match="does not hold"):
        desired_of(plan, store)


def test_a_family_that_goes_into_a_folder_is_not_released(tmp_path: Path) -> None:
    plan = planned("folder")
    with pytest.raises(UsageError, match="not published to the Hub"):
        desired_of(plan, Store(tmp_path))


def test_a_version_that_can_be_no_tag_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    plan = planned(version="1.0.0-a..b")
    with pytest.raises(UsageError, match="cannot be the name of a tag"):
        desired_of(plan, Store(tmp_path))


def test_a_collection_longer_than_the_hub_takes_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    plan = planned()
    store = store_of(tmp_path, plan)
    for changed, what in (
        ({"description": "x" * 151}, "description"),
        ({"items": [{"repo": MERGED, "note": "x" * 501}]}, "note"),
    ):
        folder = store.folder(plan.steps[plan.places[PAGE]])
        write_json(folder / FACTS, {"repo": INDEX, "files": {"README.md": {}}, "collection": {**COLLECTION, **changed}})
        with pytest.raises(UsageError, match=what):
            desired_of(plan, store)
