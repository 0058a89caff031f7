"""What many requests begin with, found once: requests with one context become a tree, trees with one beginning a run.

    run   stem ─┬─ trunk ─┬─ branch      stem:   what all contexts of a run begin with (few-shot examples, mostly)
                │         └─ branch      trunk:  the rest of one context
                └─ trunk ─── branch      branch: one continuation, without its last token, which nothing follows

A model that is fed this way reads every stem and every trunk once. Pure: lists of tokens, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

Tokens = tuple[int, ...]

_BRANCH_TOKENS = 1024  # of one tree: beyond it, attention between branches that never see each other costs most
_RUN_TOKENS = 32  # what a run of its own costs, beside its tokens: the pass of its stem


class Request(NamedTuple):
    """``continuation`` is what is scored; neither part is empty."""

    context: Tokens
    continuation: Tokens


@dataclass
class Tree:
    """One context. ``asked``: (place of a request, which branch it is, its continuation)."""

    trunk: Tokens
    branches: list[Tokens] = field(default_factory=list)
    asked: list[tuple[int, int, Tokens]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.trunk) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Run:
    """Trees whose trunks all begin with ``stem``, which is shorter than any of them; the trunks are whole."""

    stem: Tokens
    trees: list[Tree]


def fitted(request: Request, max_length: int) -> Request:
    """The request without what is too far left for a model that reads ``max_length`` tokens: its last token is scored,
    but not read. Raises ValueError when the continuation alone is longer, or a part is empty."""
    context, continuation = request
    if not context or not continuation:
        raise ValueError("a continuation without a token, or nothing that stands before it")
    if len(continuation) > max_length:
        raise ValueError(f"a continuation of {len(continuation)} tokens for a model that reads {max_length}")
    return Request(context[-(max_length + 1 - len(continuation)) :], continuation)


def trees(requests: Sequence[Request]) -> list[Tree]:
    """One tree per context, or more where a context has very many continuations."""
    found: dict[Tokens, list[int]] = {}
    for place, request in enumerate(requests):
        found.setdefault(request.context, []).append(place)
    return [tree for trunk, places in found.items() for tree in _grown(trunk, places, requests)]


def _grown(trunk: Tokens, places: Sequence[int], requests: Sequence[Request]) -> Iterator[Tree]:
    tree, numbers, size = Tree(trunk), dict[Tokens, int](), 0
    for place in places:
        continuation = requests[place].continuation
        branch = continuation[:-1]
        if size + len(branch) > _BRANCH_TOKENS and tree.asked and branch not in numbers:
            yield tree
            tree, numbers, size = Tree(trunk), {}, 0
        if branch not in numbers:
            numbers[branch] = len(tree.branches)
            tree.branches.append(branch)
            size += len(branch)
        tree.asked.append((place, numbers[branch], continuation))
    yield tree


def runs(found: Sequence[Tree]) -> list[Run]:
    """The trees in runs, such that as few tokens as possible are read more than once."""
    ordered = sorted(found, key=lambda tree: tree.trunk)
    shared = [_common(one.trunk, two.trunk) for one, two in pairwise(ordered)]
    laid, single = list[Run](), list[Tree]()
    for first, last, length in _spans(shared):
        if length:
            laid.append(Run(ordered[first].trunk[:length], ordered[first : last + 1]))
        else:
            single += ordered[first : last + 1]
    return [*laid, Run((), single)] if single else laid


def _common(one: Tokens, two: Tokens) -> int:
    """How many tokens both begin with; at least one of each is left over."""
    most = min(len(one), len(two)) - 1
    if one[:most] == two[:most]:
        return most
    return next(place for place in range(most) if one[place] != two[place])


class _Span(NamedTuple):
    """Trees ``first`` to ``last``, read as ``parts``, which saves ``saved`` tokens."""

    first: int
    last: int
    saved: int
    parts: tuple[tuple[int, int, int], ...]


def _spans(shared: Sequence[int]) -> list[tuple[int, int, int]]:
    """``first, last, length`` of the runs that save most, of sorted trees of which neighbours share so many tokens.

    All trees of which each shares at least ``n`` tokens with the next lie together, and within them those that share
    more: such spans form a tree, built here with a stack (as for longest common prefixes of a suffix array). Each is
    one run, or is left to the spans within it.
    """
    outermost: list[_Span] = []
    waiting: list[tuple[int, int, list[_Span]]] = [(0, 0, outermost)]  # length, first, spans within
    for place in range(len(shared) + 1):
        length = shared[place] if place < len(shared) else 0
        leaf = _Span(place, place, 0, ((place, place, 0),))
        if length > waiting[-1][0]:
            waiting.append((length, place, [leaf]))
            continue
        waiting[-1][2].append(leaf)
        while length < waiting[-1][0]:
            closed = _closed(*waiting.pop(), last=place)
            if length > waiting[-1][0]:
                waiting.append((length, closed.first, [closed]))
            else:
                waiting[-1][2].append(closed)
    return [part for span in outermost for part in span.parts]


def _closed(length: int, first: int, within: list[_Span], *, last: int) -> _Span:
    as_one, apart = (last - first) * length - _RUN_TOKENS, sum(span.saved for span in within)
    if as_one > 0 and as_one >= apart:
        return _Span(first, last, as_one, ((first, last, length),))
    return _Span(first, last, apart, tuple(part for span in within for part in span.parts))
