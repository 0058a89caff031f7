"""Collections through the real client."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.localhub import LocalHub
from tests.localhub.test_access import as_user, status_of


@pytest.fixture
def slug(hub: LocalHub, api: HfApi) -> str:
    """A collection of acme with the models x, y and z in this order."""
    made = api.create_collection("Acme: 4B!", namespace="acme", description="all of it")
    for name in "xyz":
        api.create_repo(f"acme/{name}", exist_ok=True)
        api.add_collection_item(made.slug, f"acme/{name}", "model", note=f"note {name}")
    return str(made.slug)


def names(api: HfApi, slug: str) -> list[str]:
    return [item.item_id.removeprefix("acme/") for item in api.get_collection(slug).items]


def test_a_collection_is_ordered_and_has_notes(hub: LocalHub, api: HfApi, slug: str) -> None:
    told = api.get_collection(slug)
    assert slug.startswith("acme/acme-4b-")
    assert (told.title, told.description, told.owner["name"], told.private) == (  # type: ignore[index]
        "Acme: 4B!",
        "all of it",
        "acme",
        False,
    )
    assert [(item.item_id, item.note, item.position) for item in told.items] == [
        ("acme/x", "note x", 0),
        ("acme/y", "note y", 1),
        ("acme/z", "note z", 2),
    ]
    assert [found.slug for found in api.list_collections(owner="acme")] == [slug]
    assert [found.slug for found in api.list_collections(item="models/acme/y")] == [slug]
    assert list(api.list_collections(owner="other")) == []


def test_items_move_change_and_go(hub: LocalHub, api: HfApi, slug: str) -> None:
    items = {item.item_id: item.item_object_id for item in api.get_collection(slug).items}
    api.update_collection_item(slug, items["acme/z"], position=0, note="first")
    assert names(api, slug) == ["z", "x", "y"]
    assert api.get_collection(slug).items[0].note == "first"
    api.delete_collection_item(slug, items["acme/x"])
    assert names(api, slug) == ["z", "y"]
    with pytest.raises(HfHubHTTPError):
        api.delete_collection_item(slug, items["acme/x"])


def test_what_exists_is_told_with_409(hub: LocalHub, api: HfApi, slug: str) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_collection("Acme: 4B!", namespace="acme")
    assert status_of(refused) == 409
    assert api.create_collection("Acme: 4B!", namespace="acme", exists_ok=True).slug == slug
    with pytest.raises(HfHubHTTPError) as refused:
        api.add_collection_item(slug, "acme/x", "model")
    assert status_of(refused) == 409
    assert len(api.add_collection_item(slug, "acme/x", "model", exists_ok=True).items) == 3


def test_a_new_title_changes_the_slug_and_the_old_one_goes_on(hub: LocalHub, api: HfApi, slug: str) -> None:
    renamed = api.update_collection_metadata(slug, title="New", description="d", private=True)
    assert renamed.slug == "acme/new-" + slug.rsplit("-", 1)[-1]
    assert (api.get_collection(slug).slug, api.get_collection(renamed.slug).private) == (renamed.slug, True)
    with pytest.raises(HfHubHTTPError) as refused:
        as_user(hub, "other").get_collection(slug)
    assert status_of(refused) == 404
    api.delete_collection(slug)
    with pytest.raises(HfHubHTTPError):
        api.get_collection(slug)


def test_limits_and_unknown_repos_are_refused(hub: LocalHub, api: HfApi, slug: str) -> None:
    for change in (
        lambda: api.update_collection_metadata(slug, description="d" * 151),
        lambda: api.create_collection("t" * 61, namespace="acme"),
        lambda: api.add_collection_item(slug, "acme/x", "model", note="n" * 501),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            change()
        assert status_of(refused) == 400
    with pytest.raises(HfHubHTTPError) as refused:
        api.add_collection_item(slug, "acme/nothing", "model")
    assert status_of(refused) == 404


def test_others_change_nothing(hub: LocalHub, api: HfApi, slug: str) -> None:
    other, item = as_user(hub, "other"), api.get_collection(slug).items[0].item_object_id
    for change in (
        lambda: other.delete_collection(slug),
        lambda: other.update_collection_metadata(slug, title="mine"),
        lambda: other.add_collection_item(slug, "acme/x", "model"),
        lambda: other.update_collection_item(slug, item, note="mine"),
        lambda: other.delete_collection_item(slug, item),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            change()
        assert status_of(refused) == 403


def test_private_repos_are_not_seen_in_it_by_others(hub: LocalHub, api: HfApi, slug: str) -> None:
    api.update_repo_settings("acme/y", private=True)
    assert names(api, slug) == ["x", "y", "z"]
    assert names(as_user(hub, "other"), slug) == ["x", "z"]
