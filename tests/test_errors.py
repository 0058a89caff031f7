"""An error's words are for a terminal: whatever they quote cannot move its cursor."""

from __future__ import annotations

import copy

from variantforge.errors import Problem, SpecError, StepError


def test_what_an_error_quotes_is_shown_and_not_obeyed() -> None:
    error = StepError("row '\x1b[2J' in a\u202eb\nsecond line", why="\x07", next="rm '\r'")
    assert str(error) == "row '\\x1b[2J' in a\\u202eb\nsecond line\n\\x07\nNext: rm '\\r'"
    assert str(copy.copy(error)) == str(error)
    assert str(SpecError([Problem("f:1:1", "k\x1b", "t")])).splitlines()[0] == "f:1:1  k\\x1b  t"
