"""Batches, padding and the output head change nothing of a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.heldout import Example
from variantforge.stages.evaluate.likelihood import batches, score
from variantforge.stages.evaluate.runtime_gap import sampled
from variantforge.step import Artifact


def example(length: int, targets: int, offset: int = 0) -> Example:
    ids = [5 + (7 * place + offset) % 400 for place in range(length)]
    return Example(f"{length}-{offset}", "made", ids, list(range(length - targets, length)))


@pytest.fixture(scope="module")
def model(base: Artifact) -> Any:
    from variantforge.stages.models import load_model

    return load_model(base.path / "model")


@pytest.fixture(scope="module")
def qwen(tiny_qwen3: Path) -> Any:
    from variantforge.stages.models import load_model

    return load_model(tiny_qwen3)


def test_batches_hold_every_example_once_and_keep_to_their_limits():
    examples = [example(length, 5) for length in (9, 700, 30, 1500, 64, 8, 2500, 31)]
    made = list(batches(examples, 2048, vocabulary=1000))
    assert sorted(place for batch in made for place in batch) == list(range(len(examples)))
    for batch in made:
        longest = max(len(examples[place].ids) for place in batch)
        assert len(batch) * longest <= 2048 or len(batch) == 1


def test_a_large_vocabulary_makes_batches_small():
    examples = [example(100, 50, offset) for offset in range(8)]
    assert [len(batch) for batch in batches(examples, 2048, vocabulary=1000)] == [8]
    assert [len(batch) for batch in batches(examples, 2048, vocabulary=600_000)] == [2, 2, 2, 2]


def test_an_example_scores_the_same_alone_and_among_longer_ones(model: Any, qwen: Any):
    examples = [example(10, 4), example(33, 30, 3), example(90, 1, 9)]
    for one in (model, qwen):
        together = score(one, examples)
        alone = [score(one, [single])[0] for single in examples]
        assert [found.nll for found in together] == pytest.approx([found.nll for found in alone], rel=1e-5)
        assert [found.tokens for found in together] == [4, 30, 1]


def test_scores_are_those_of_the_whole_output(model: Any):
    import torch

    one = example(20, 6)
    with torch.no_grad():
        whole = torch.log_softmax(model(torch.tensor([one.ids])).logits[0], dim=-1)
    expected = -sum(float(whole[position - 1, one.ids[position]]) for position in one.targets)
    found = score(model, [example(30, 3, 1), one, example(9, 2)], keep={1: one.targets[2:4]})
    assert found[1].nll == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(found[1].kept, whole[torch.tensor(one.targets[2:4]) - 1], atol=1e-4)
    assert found[0].kept is None


def test_divergence_is_that_of_torch(model: Any, base: Artifact):
    import torch

    from variantforge.stages.models import load_model

    other = load_model(base.path / "model")
    with torch.no_grad():
        other.model.norm.weight.mul_(1.3)
    one = example(20, 6)
    reference, ours = (score(each, [one], keep={0: one.targets})[0].kept for each in (model, other))
    expected = torch.nn.functional.kl_div(ours, reference, log_target=True, reduction="sum")
    found = score(other, [one], model)[0]
    assert found.kl == pytest.approx(float(expected), rel=1e-4)
    assert found.same_top == int((ours.argmax(-1) == reference.argmax(-1)).sum())


def test_a_reference_that_is_no_number_is_not_taken_for_no_divergence(model: Any, base: Artifact):
    import torch

    from variantforge.stages.models import load_model

    broken = load_model(base.path / "model")
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(EvaluateError, match="KL divergence from the merged model of row 20-0"):
        score(model, [example(20, 6)], broken)


def test_progress_counts_examples_to_the_last(model: Any):
    seen: list[tuple[int, int]] = []
    score(model, [example(10, 4), example(1500, 2)], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_positions_are_spread_over_short_and_long_rows_and_over_their_answers():
    examples = [example(length, length // 2) for length in (80, 20, 60, 40, 100)]
    chosen = sampled(examples, 8)
    assert list(chosen) == [1, 3, 0, 4]  # from the shortest to the longest
    assert chosen == {1: [10, 19], 3: [20, 39], 0: [40, 79], 4: [50, 99]}
    assert sampled(examples, 1) == {2: [45]}
    assert sum(map(len, sampled(examples, 5).values())) == 5
    assert sampled([example(10, 3)], 16) == {0: [7, 9]}  # no more examples than there are
