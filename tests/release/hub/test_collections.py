"""The page that links the repos: made once, and made as it is wanted."""

from __future__ import annotations

import pytest

from tests.localhub import LocalHub
from variantforge.release.hub import CollectionItem, Hub

NAMES = ["acme/a", "acme/b", "acme/c"]


@pytest.fixture
def slug(ours: Hub) -> str:
    for name in NAMES:
        ours.create_repo(name)
    return ours.collections.create("acme", "Family", description="All of it").slug


def items(ours: Hub, slug: str) -> list[tuple[str, str]]:
    found = ours.collections.get(slug)
    assert found
    return [(item.repo, item.note) for item in found.items]


def test_a_collection_is_found_by_owner_and_title(ours: Hub, slug: str) -> None:
    found = ours.collections.find("acme", "Family")
    assert found
    assert (found.slug, found.title, found.description, found.private) == (slug, "Family", "All of it", True)
    assert ours.collections.find("acme", "Other") is None
    assert ours.collections.get("acme/none-0123456789abcdef01234567") is None
    assert ours.collections.create("acme", "Family").slug == slug


def test_title_description_and_visibility_are_changed_alone(ours: Hub, slug: str) -> None:
    ours.collections.update(slug, description="Other")
    ours.collections.update(slug, private=False)
    found = ours.collections.get(slug)
    assert found
    assert (found.title, found.description, found.private) == ("Family", "Other", False)


def test_items_become_those_wanted_in_their_order_with_their_notes(ours: Hub, slug: str) -> None:
    ours.collections.arrange(slug, [CollectionItem("acme/c"), CollectionItem("acme/a", "first")])
    assert items(ours, slug) == [("acme/c", ""), ("acme/a", "first")]
    wanted = [CollectionItem("acme/a", "changed"), CollectionItem("acme/b", "new"), CollectionItem("acme/c")]
    ours.collections.arrange(slug, wanted)
    assert items(ours, slug) == [("acme/a", "changed"), ("acme/b", "new"), ("acme/c", "")]


def test_what_is_as_wanted_costs_no_write(hub: LocalHub, ours: Hub, slug: str) -> None:
    wanted = [CollectionItem("acme/b", "one"), CollectionItem("acme/a")]
    ours.collections.arrange(slug, wanted)
    before = len(hub.writes)
    ours.collections.arrange(slug, wanted)
    assert len(hub.writes) == before


def test_what_others_put_in_stays_behind_ours_unless_told_to_go(ours: Hub, slug: str) -> None:
    ours.collections.add(slug, CollectionItem("acme/c", "theirs"))
    ours.collections.arrange(slug, [CollectionItem("acme/b"), CollectionItem("acme/a")])
    assert items(ours, slug) == [("acme/b", ""), ("acme/a", ""), ("acme/c", "theirs")]
    ours.collections.arrange(slug, [CollectionItem("acme/a")], keep_others=False)
    assert items(ours, slug) == [("acme/a", "")]


def test_a_note_can_be_taken_away(ours: Hub, slug: str) -> None:
    ours.collections.arrange(slug, [CollectionItem("acme/a", "a note")])
    ours.collections.arrange(slug, [CollectionItem("acme/a")])
    assert items(ours, slug) == [("acme/a", "")]


def test_an_item_is_removed_once(ours: Hub, slug: str) -> None:
    ours.collections.add(slug, CollectionItem("acme/a"))
    found = ours.collections.get(slug)
    assert found
    for _ in range(2):
        ours.collections.remove(slug, found.items[0])
    assert items(ours, slug) == []
