"""``variantforge.lock``: what the names in a family file stood for when it was locked.

``record`` is its data, ``text`` writes and strictly reads it, ``needs`` finds what a family names, ``facts`` works out
what those names stand for now, ``hub`` asks the Hub, ``fit`` compares.
"""

from __future__ import annotations

from pathlib import Path

DEFAULT_NAME = "variantforge.lock"


def lock_path(family_file: Path) -> Path:
    """Beside the family file: ``variantforge.lock`` of ``family.yaml``, ``qwen.variantforge.lock`` of ``qwen.yaml``, so
    that several families may share a folder."""
    stem = family_file.stem
    return family_file.with_name(DEFAULT_NAME if stem == "family" else f"{stem}.{DEFAULT_NAME}")
