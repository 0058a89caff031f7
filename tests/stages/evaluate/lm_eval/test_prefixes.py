"""Requests as trees and runs: nothing is lost, nothing is read twice that need not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.stages.evaluate.lm_eval.prefixes import Request, Run, fitted, runs, trees

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=60).map(tuple)
REQUESTS = st.lists(st.builds(Request, TOKENS, TOKENS), min_size=1, max_size=30)


def read(laid: list[Run]) -> int:
    """Tokens that a model reads."""
    return sum(len(run.stem) + sum(tree.size - len(run.stem) for tree in run.trees) for run in laid)


@given(REQUESTS)
def test_every_request_is_asked_once_and_lies_on_one_way_from_stem_to_branch(requests: list[Request]) -> None:
    found: dict[int, Request] = {}
    for run in runs(trees(requests)):
        for tree in run.trees:
            assert tree.trunk[: len(run.stem)] == run.stem
            assert len(tree.trunk) > len(run.stem)
            for place, branch, continuation in tree.asked:
                assert place not in found
                found[place] = Request(tree.trunk, continuation)
                assert tree.branches[branch] == continuation[:-1]
    assert [found[place] for place in range(len(requests))] == requests


@given(REQUESTS)
def test_no_more_is_read_than_by_asking_each_alone(requests: list[Request]) -> None:
    alone = sum(len(context) + len(continuation) - 1 for context, continuation in requests)
    assert read(runs(trees(requests))) <= alone


def test_what_all_questions_of_a_subject_begin_with_is_read_once_per_subject() -> None:
    one, two = tuple(range(100)), tuple(range(100, 250))
    questions = [Request((*shots, 1000 + number), (7,)) for shots in (one, two) for number in range(20)]
    laid = runs(trees([*questions, Request((5000, 5001), (7,))]))
    assert sorted((len(run.stem), len(run.trees)) for run in laid) == [(0, 1), (100, 20), (150, 20)]


def test_a_start_that_all_share_does_not_hide_a_longer_one_that_many_share() -> None:
    first, shots = (1, 2, 3), tuple(range(10, 210))
    questions = [Request((*first, 900 + number), (7,)) for number in range(5)]
    questions += [Request((*first, *shots, 1000 + number), (7,)) for number in range(50)]
    assert max(len(run.stem) for run in runs(trees(questions))) == 203


def test_a_context_with_very_many_continuations_becomes_several_trees() -> None:
    requests = [Request((1, 2), (number, *range(500))) for number in range(5)]
    found = trees(requests)
    assert [len(tree.asked) for tree in found] == [2, 2, 1]
    assert {tree.trunk for tree in found} == {(1, 2)}


def test_what_does_not_fit_is_cut_on_the_left_and_the_last_token_is_not_read() -> None:
    assert fitted(Request((1, 2, 3, 4), (5, 6)), 4) == Request((2, 3, 4), (5, 6))
    assert fitted(Request((1, 2), (5, 6)), 4) == Request((1, 2), (5, 6))


@pytest.mark.parametrize("request_", [Request((1,), ()), Request((), (1,)), Request((1,), (2, 3, 4))])
def test_a_request_that_cannot_be_asked_is_none(request_: Request) -> None:
    with pytest.raises(ValueError, match="a continuation"):
        fitted(request_, 2)
