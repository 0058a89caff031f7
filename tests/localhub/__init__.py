"""A Hub to test against: speaks what huggingface_hub speaks, keeps every repo as a real git repository.

``python -m tests.localhub`` starts one to look at; tests take the fixture ``hub``. docs/localhub.md tells the rest.
"""

from __future__ import annotations

from tests.localhub.faults import Fault
from tests.localhub.hub import LocalHub

__all__ = ["Fault", "LocalHub"]
