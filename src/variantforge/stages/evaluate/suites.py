"""What an evaluator will ask, told before anything is trained: so that training data can be cleaned of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable


class SuiteText(NamedTuple):
    """A text of one item of a suite: its prompt, a test, a reference answer. ``code``: it holds Python functions."""

    item: str
    text: str
    code: bool = False


@runtime_checkable
class HasSuite(Protocol):
    """An evaluator of a fixed suite offers its texts. One that measures held-out rows offers none: no row of those,
    and nothing that the policy calls nearly the same, is ever trained on."""

    def suite_texts(self, params: Any) -> Iterable[SuiteText]:
        """Offline, and the same for equal parameters: these are all that enters the key of the data."""
