"""How much the Hub lets one account do, counted before it says so."""

from __future__ import annotations

import pytest

from variantforge.release.hub import Budget
from variantforge.release.hub.wire import asked_wait_s


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_commits_of_the_last_hour_count_and_older_ones_do_not() -> None:
    clock = Clock()
    budget = Budget([clock.now - 3601, clock.now - 3599, clock.now - 1], per_hour=4, clock=clock)
    assert budget.left() == 2
    budget.spend()
    assert budget.left() == 1
    clock.now += 2
    assert budget.left() == 2


def test_a_full_hour_says_how_long_to_wait_for_one_commit_and_for_more() -> None:
    clock = Clock()
    budget = Budget([clock.now - 3000, clock.now - 2000], per_hour=2, clock=clock)
    assert budget.wait_s() == 600
    assert budget.wait_s(2) == 1600
    clock.now += 600
    assert budget.wait_s() == 0


def test_more_commits_than_an_hour_holds_are_estimated_over_the_hours() -> None:
    budget = Budget(per_hour=128, clock=Clock())
    assert budget.estimate(128, 500) == "128 commits, 128 of 128 are left this hour; about 500 requests"
    assert "wait 60 min" in budget.estimate(129, 500)
    assert "wait 120 min" in budget.estimate(257, 500)


def test_the_headers_of_the_hub_are_remembered_until_their_window_ends() -> None:
    clock = Clock()
    budget = Budget(clock=clock)
    budget.heard({"ratelimit": '"api";r=3;t=55'})
    assert budget.request_wait_s() == 0
    assert ", 3 are left in this window" in budget.estimate(1, 1)
    budget.heard({"ratelimit": '"api";r=0;t=55'})
    assert budget.request_wait_s() == 55
    assert budget.request_wait_s("resolvers") == 0
    clock.now += 56
    assert budget.request_wait_s() == 0


@pytest.mark.parametrize("header", ["", "nonsense", '"api";r=x;t=1', '"api"'])
def test_a_header_that_means_nothing_changes_nothing(header: str) -> None:
    budget = Budget()
    budget.heard({"ratelimit": header})
    assert budget.window() is None


@pytest.mark.parametrize(
    ("headers", "said", "wait_s"),
    [
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}, "", 56),
        ({"ratelimit": '"api";r=9;t=55', "retry-after": "3"}, "", 3),
        ({"retry-after": "120"}, "", 120),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
        ({"retry-after": "soon"}, "", None),
        ({}, "You can retry this action in about 1 hour.", 3600),
        ({}, "You can retry this action in 20 minutes.", 1200),
        ({}, "Too many requests", None),
    ],
)
def test_the_wait_asked_for_is_read_from_headers_or_from_the_sentence(
    headers: dict[str, str], said: str, wait_s: float | None
) -> None:
    assert asked_wait_s(headers, said) == wait_s
