"""All routes of the two origins; the first that fits wins."""

from __future__ import annotations

from tests.localhub import browse, collections, commits, discussions, identity, info, large_files, refs, smart_http
from tests.localhub.http import Route

HUB_ROUTES: list[Route] = [
    *identity.ROUTES,
    *collections.ROUTES,
    *info.ROUTES,
    *browse.ROUTES,
    *commits.ROUTES,
    *refs.ROUTES,
    *discussions.ROUTES,
    *large_files.ROUTES,
    *smart_http.ROUTES,
]
STORAGE_ROUTES: list[Route] = large_files.STORAGE
