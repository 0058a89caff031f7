"""The page that links the repos. Every call may be made twice: what is there already is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from variantforge.errors import NotOnHub
from variantforge.release.hub.facts import CollectionItem, RemoteCollection

if TYPE_CHECKING:
    from variantforge.release.hub.client import Hub


class Collections:
    """Reached as ``hub.collections``. A Trusted Publisher cannot edit collections: the user's token is used."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def get(self, slug: str) -> RemoteCollection | None:
        try:
            found = self._hub.ask(
                f"reading the collection {slug}",
                lambda api: api.get_collection(slug, token=self._hub.user_token()),
            )
        except NotOnHub:
            return None
        return _of(found)

    def find(self, namespace: str, title: str) -> RemoteCollection | None:
        """The collection of that owner with that very title; whole (the Hub's own list shows four items of each)."""
        found = self._hub.ask(
            f"looking for the collection {title!r} of {namespace}",
            lambda api: list(api.list_collections(owner=namespace, token=self._hub.user_token())),
        )
        slug = next((each.slug for each in found if each.title == title), None)
        return self.get(slug) if slug else None

    def create(self, namespace: str, title: str, *, description: str = "", private: bool = True) -> RemoteCollection:
        """The one of that title is returned when it is there already."""
        there = self.find(namespace, title)
        if there:
            return there
        return self._hub.ask(
            f"creating the collection {title!r} of {namespace}",
            lambda api: _of(
                api.create_collection(
                    title,
                    namespace=namespace,
                    description=description or None,
                    private=private,
                    exists_ok=True,
                    token=self._hub.user_token(),
                )
            ),
            lambda: self.find(namespace, title),
        )

    def update(
        self, slug: str, *, title: str | None = None, description: str | None = None, private: bool | None = None
    ) -> None:
        self._hub.ask(
            f"describing the collection {slug}",
            lambda api: api.update_collection_metadata(
                slug, title=title, description=description, private=private, token=self._hub.user_token()
            ),
        )

    def add(self, slug: str, item: CollectionItem) -> None:
        """Nothing happens when the repo is listed already."""
        kind: Any = item.kind
        self._hub.ask(
            f"adding {item.repo} to the collection {slug}",
            lambda api: api.add_collection_item(
                slug, item.repo, kind, note=item.note or None, exists_ok=True, token=self._hub.user_token()
            ),
        )

    def remove(self, slug: str, item: CollectionItem) -> None:
        """``item`` as ``get`` told it. Nothing happens when it is gone."""
        with suppress(NotOnHub):
            self._hub.ask(
                f"taking {item.repo} from the collection {slug}",
                lambda api: api.delete_collection_item(slug, item.id, missing_ok=True, token=self._hub.user_token()),
            )

    def change(self, slug: str, item: CollectionItem, *, note: str | None = None, position: int | None = None) -> None:
        """``item`` as ``get`` told it."""
        self._hub.ask(
            f"changing {item.repo} in the collection {slug}",
            lambda api: api.update_collection_item(
                slug, item.id, note=note, position=position, token=self._hub.user_token()
            ),
        )

    def arrange(self, slug: str, wanted: Sequence[CollectionItem], *, keep_others: bool = True) -> None:
        """Makes the items those of ``wanted``, in that order and with those notes; others stay behind them."""
        there = self.get(slug)
        listed = {item.repo: item for item in there.items} if there else {}
        for item in wanted:
            if item.repo not in listed:
                self.add(slug, item)
        if not keep_others:
            for repo, item in listed.items():
                if repo not in {each.repo for each in wanted}:
                    self.remove(slug, item)
        self._order(slug, wanted)

    def _order(self, slug: str, wanted: Sequence[CollectionItem]) -> None:
        there = self.get(slug)
        order = [item.repo for item in there.items] if there else []
        listed = {item.repo: item for item in there.items} if there else {}
        for position, item in enumerate(wanted):
            seen = listed[item.repo]
            if seen.note != item.note:
                self.change(slug, seen, note=item.note)
            if order.index(item.repo) != position:
                self.change(slug, seen, position=position)
                order.remove(item.repo)
                order.insert(position, item.repo)


def _of(found: Any) -> RemoteCollection:
    items = tuple(
        CollectionItem(item.item_id, item.note or "", item.item_type, item.item_object_id)
        for item in sorted(found.items, key=lambda item: item.position)
    )
    return RemoteCollection(found.slug, found.title, found.description or "", bool(found.private), items)
