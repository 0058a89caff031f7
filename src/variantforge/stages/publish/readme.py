"""README.md in a published folder: our part is published anew, what people wrote around it stays."""

from __future__ import annotations

from pathlib import Path

from variantforge.hashing import text_digest
from variantforge.stages.card.managed import compose, managed


def is_as_published(there: Path, sha256: str) -> bool:
    """Whether our part is the one with this digest, whatever people wrote around it."""
    text = _text(there)
    return text is not None and text_digest(managed(text)) == sha256


def with_peoples_words(card: str, there: Path | None) -> str:
    """``card`` with what people wrote into the file that lies there; ``card`` itself where that is no text."""
    return compose(card, _text(there) if there else None)


def _text(path: Path) -> str | None:
    """None when there is no file, or none of UTF-8."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
