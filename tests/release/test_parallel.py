"""Asking about many things at once."""

from __future__ import annotations

import threading

import pytest

from variantforge.release.parallel import each


def test_answers_come_in_the_order_of_the_questions() -> None:
    gate = threading.Event()

    def answer(number: int) -> int:
        if number == 0:
            gate.wait(10)
        else:
            gate.set()
        return number * number

    assert each(answer, range(5)) == [0, 1, 4, 9, 16]
    assert each(answer, []) == []


def test_the_first_failure_is_raised_and_what_has_not_begun_is_dropped() -> None:
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        raise KeyError(number)

    with pytest.raises(KeyError, match="0"):
        each(fail, range(1000), workers=2)
    assert len(begun) < 1000


def test_one_at_a_time_uses_no_threads() -> None:
    assert each(lambda item: threading.current_thread(), [1, 2], workers=1) == [threading.main_thread()] * 2
