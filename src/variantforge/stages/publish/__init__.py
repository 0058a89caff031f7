"""Where finished repos go. A publisher is a file here and a row below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.registry import Registry

if TYPE_CHECKING:
    from variantforge.stages.publish.stage import Publisher

PUBLISHERS: Registry[type[Publisher]] = Registry(
    "publishers",
    "publisher",
    {"folder": "variantforge.stages.publish.folder:Folder", "hub": "variantforge.stages.publish.hub:Hub"},
)
