"""Trees side by side in one row: where each token stands, what it sees, and where its predictions are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.lm_eval.prefixes import Request, Tree
from variantforge.stages.evaluate.lm_eval.scores import Found, Scored

if TYPE_CHECKING:
    import torch


@dataclass
class Row:
    """Trees side by side. For each token: its id, its position, its tree, and its branch (-1: the trunk).

    ``asked``: where predictions are wanted. ``lines``: for each tree, and each of its branches, which of ``asked`` are
    the prediction after the trunk and those after the branch's tokens.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    tree: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    lines: list[list[list[int]]] = field(default_factory=list)

    def add(self, tokens: Sequence[int], first: int, tree: int, branch: int) -> None:
        self.ids += tokens
        self.positions += range(first, first + len(tokens))
        self.tree += [tree] * len(tokens)
        self.branch += [branch] * len(tokens)


def laid_out(pack: Sequence[Tree], stem: int) -> Row:
    row = Row()
    for number, tree in enumerate(pack):
        row.add(tree.trunk[stem:], stem, number, -1)
        after_trunk = len(row.asked)
        row.asked.append(len(row.ids) - 1)
        lines = []
        for place, branch in enumerate(tree.branches):
            lines.append([after_trunk, *range(len(row.asked), len(row.asked) + len(branch))])
            row.asked += range(len(row.ids), len(row.ids) + len(branch))
            row.add(branch, len(tree.trunk), number, place)
        row.lines.append(lines)
    return row


def as_row(values: Sequence[int], device: Any) -> torch.Tensor:
    import torch

    return torch.tensor([values], device=device)


def mask_of(row: Row, stem: int, dtype: torch.dtype, device: Any) -> torch.Tensor:
    """What is added to attention scores: 0 where a token sees another, else as good as -inf. [1, 1, row, stem + row]"""
    import torch

    tree, branch = torch.tensor(row.tree, device=device), torch.tensor(row.branch, device=device)
    order = torch.arange(len(row.ids), device=device)
    sees = (tree[:, None] == tree) & (order <= order[:, None]) & ((branch == -1) | (branch[:, None] == branch))
    sees = torch.cat([torch.ones(len(row.ids), stem, dtype=torch.bool, device=device), sees], dim=1)
    mask = torch.zeros(sees.shape, dtype=dtype, device=device)
    return mask.masked_fill(~sees, torch.finfo(dtype).min)[None, None]


def of_trees(pack: Sequence[Tree], row: Row, found: Found) -> dict[int, Scored]:
    return {
        place: found.score(lines[branch], continuation)
        for tree, lines in zip(pack, row.lines, strict=True)
        for place, branch, continuation in tree.asked
    }


def spots(row: int, ids: Sequence[int], request: Request) -> Iterator[tuple[int, int]]:
    """Where in a batch the tokens of a continuation are predicted."""
    first = len(ids) - len(request.continuation)
    return ((row, at) for at in range(first, len(ids)))
