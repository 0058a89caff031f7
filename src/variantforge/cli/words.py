"""How figures read, under the name that commands know."""

from __future__ import annotations

from variantforge.words import counted, duration, figure, size

__all__ = ["counted", "duration", "figure", "size"]
