"""Who is held out, who stays when there are too many, and in which order: all from the row's own hash.

No state and no random numbers: what happens to a row depends on that row (and a salt), so adding rows moves none.
The three questions use three salts, hence a limit does not bias the split, nor the order the limit.
"""

from __future__ import annotations

import hashlib

from variantforge.stages.rows import ID_BITS


def is_heldout(id: str, fraction: float) -> bool:
    """Whether the row stands on the held-out side: its id, read as a number in [0, 1), is below ``fraction``."""
    return int(id, 16) < fraction * (1 << ID_BITS)


def rank(salt: str, id: str) -> int:
    """A row's place in the shuffle named ``salt``: 64 bits that look random and are always the same."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{id}".encode()).digest()[:8], "big")
