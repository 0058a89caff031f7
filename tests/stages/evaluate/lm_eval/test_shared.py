"""Scores of trees are those of requests alone, and those of the harness's own backend."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.lm_eval.suites import sentence
from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.lm_eval.model import Loading, subject_of
from variantforge.stages.evaluate.lm_eval.prefixes import Request
from variantforge.stages.evaluate.lm_eval.scores import Scored
from variantforge.stages.evaluate.lm_eval.shared import Likelihoods, narrowest_window
from variantforge.step import Artifact, Step, StepContext


def load(folder: Path) -> Any:
    from variantforge.stages.models import load_model

    return load_model(folder)


@pytest.fixture(scope="module")
def model(base: Artifact) -> Any:
    return load(base.path / "model")


def requests(seed: int = 0, shots: int = 40) -> list[Request]:
    """Questions with few-shot examples that many share, each with a few continuations."""
    rng = random.Random(seed)
    starts = [tuple(rng.randrange(1000) for _ in range(length)) for length in (shots, shots + 9, 0)]
    found = []
    for _ in range(15):
        context = rng.choice(starts) + tuple(rng.randrange(1000) for _ in range(rng.randrange(1, 12)))
        for _ in range(rng.randrange(1, 4)):
            found.append(Request(context, tuple(rng.randrange(1000) for _ in range(rng.randrange(1, 5)))))
    return found


def alone(model: Any) -> Likelihoods:
    likelihoods = Likelihoods(model, 1024)
    likelihoods._shares = False
    return likelihoods


def assert_same(one: list[Any], two: list[Any], close: float = 1e-4) -> None:
    assert [scored.logprob for scored in one] == pytest.approx([scored.logprob for scored in two], abs=close)
    assert [scored.greedy for scored in one] == [scored.greedy for scored in two]


def test_trees_side_by_side_score_as_requests_alone_and_less_is_read(model: Any) -> None:
    asked = requests()
    together, apart = Likelihoods(model, 1024), alone(model)
    assert_same(together.score(asked), apart.score(asked))
    assert together.tokens_read < apart.tokens_read / 2


def test_what_a_model_says_that_takes_no_shared_contexts_is_told(model: Any) -> None:
    def only_plain_masks(module: Any, args: Any, given: dict[str, Any]) -> None:
        if getattr(given.get("attention_mask"), "ndim", 2) > 2 or given.get("past_key_values") is not None:
            raise ValueError("masks of two dimensions only")

    told: list[str] = []
    hook = model.register_forward_pre_hook(only_plain_masks, with_kwargs=True)
    try:
        scores = Likelihoods(model, 1024, told.append).score(requests())
    finally:
        hook.remove()
    assert_same(scores, alone(model).score(requests()))
    assert len(told) == 1
    assert "ValueError: masks of two dimensions only" in told[0]


def test_the_order_of_requests_does_not_matter(model: Any) -> None:
    asked = requests(1)
    shuffled = random.Random(5).sample(range(len(asked)), len(asked))
    in_order = Likelihoods(model, 1024).score(asked)
    scores = Likelihoods(model, 1024).score([asked[place] for place in shuffled])
    assert_same(scores, [in_order[place] for place in shuffled])


@pytest.mark.parametrize("shared", [True, False])
def test_what_a_kill_left_over_is_scored_to_the_last_digit_as_it_would_have_been(model: Any, shared: bool) -> None:
    asked, passes = requests(6), list[dict[int, Scored]]()
    first = Likelihoods(model, 1024) if shared else alone(model)
    first._pass_tokens = 64
    whole = first.score(asked, passes.append)
    assert len(passes) > 2
    known = passes[0] | passes[2]
    second = Likelihoods(model, 1024) if shared else alone(model)
    second._pass_tokens = 64
    again: list[dict[int, Scored]] = []
    assert second.score(asked, again.append, known) == whole
    assert again == [one for place, one in enumerate(passes) if place not in (0, 2)]


def test_the_likeliest_continuation_is_greedy(model: Any) -> None:
    import torch

    context = tuple(range(5, 25))
    with torch.inference_mode():
        first = int(model(torch.tensor([context])).logits[0, -1].argmax())
        second = int(model(torch.tensor([[*context, first]])).logits[0, -1].argmax())
    scores = Likelihoods(model, 1024).score([Request(context, (first, second)), Request(context, (first, second + 1))])
    assert [scored.greedy for scored in scores] == [True, False]


def other(folder: Path, kind: str) -> Any:
    """A tiny model of a kind whose contexts cannot be shared as they are."""
    import torch
    from transformers import AutoModelForCausalLM, BloomConfig, MistralConfig

    torch.manual_seed(0)
    config: Any = {
        "window": MistralConfig(
            vocab_size=1000,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=16,
        ),
        "positions of its own": BloomConfig(vocab_size=1000, hidden_size=32, n_layer=2, n_head=4),
    }[kind]
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", ["window", "positions of its own"])
def test_a_model_whose_contexts_cannot_be_shared_reads_each_alone(tmp_path: Path, kind: str) -> None:
    import torch

    model, told = other(tmp_path, kind), list[str]()
    asked = requests(2)
    scores = Likelihoods(model, 1024, told.append).score(asked)
    context, continuation = asked[0]
    with torch.inference_mode():
        logits = model(torch.tensor([context + continuation])).logits[0].log_softmax(-1)
    by_hand = sum(float(logits[len(context) - 1 + at, token]) for at, token in enumerate(continuation))
    assert scores[0].logprob == pytest.approx(by_hand, abs=1e-3)
    assert len(told) == 1
    assert "contexts cannot be shared" in told[0]


def test_questions_that_share_nothing_are_read_alone_too_by_such_a_model(tmp_path: Path) -> None:
    import torch

    model = other(tmp_path, "positions of its own")
    asked = [Request((number, 7, number + 1), (5, 6)) for number in range(8)]
    scores = Likelihoods(model, 1024).score(asked)
    with torch.inference_mode():
        for request, scored in zip(asked, scores, strict=True):
            logits = model(torch.tensor([request.context + request.continuation])).logits[0].log_softmax(-1)
            by_hand = float(logits[2, 5] + logits[3, 6])
            assert scored.logprob == pytest.approx(by_hand, abs=1e-4)


def test_long_texts_that_share_nothing_are_read_without_a_mask(model: Any) -> None:
    rng = random.Random(9)
    texts = [Request((1,), tuple(rng.randrange(2, 1000) for _ in range(length))) for length in (530, 600, 20)]
    texts[1] = Request((2,), texts[1].continuation)
    asked = [*texts, *requests(3)]
    assert_same(Likelihoods(model, 1024).score(asked), alone(model).score(asked), close=1e-3)


def test_a_window_that_nothing_reaches_is_none(tmp_path: Path) -> None:
    model = other(tmp_path, "window")
    asked = [Request(tuple(range(8)), (number, 5)) for number in range(40)]
    together, apart = Likelihoods(model, 1024), alone(model)
    assert_same(together.score(asked), apart.score(asked))
    assert together.tokens_read < apart.tokens_read
    assert narrowest_window(model.config) == 16


def test_a_window_that_is_not_used_is_no_window() -> None:
    from transformers import Qwen2Config

    assert narrowest_window(Qwen2Config(use_sliding_window=False)) == float("inf")


def test_weights_that_are_no_numbers_end_the_measurement(base: Artifact) -> None:
    import torch

    broken = load(base.path / "model")
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(EvaluateError, match="not a finite number"):
        Likelihoods(broken, 1024).score([Request((1, 2), (3,))])


# --- the harness's own backend ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backend(base: Artifact, model: Any) -> Any:
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.path / "model")
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=96)


@pytest.fixture
def subject(base: Artifact, model: Any, tmp_path: Path) -> Any:
    context = StepContext(Step("evaluate", 1, "lm_eval"), {}, tmp_path / "out", tmp_path)
    return subject_of(context, Loading(lambda: model, base.path / "model", model.config, "float32", 96))


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, 0, ("mine", place, 1)) for place, one in enumerate(arguments)]


def texts(kind: str) -> list[tuple[Any, ...]]:
    rng = random.Random(3)
    shots = "".join(f"Question: {sentence(rng, 5)}\nAnswer: {sentence(rng, 2)}\n\n" for _ in range(3))
    choices = [" " + sentence(rng, 4) for _ in range(4)]
    return {
        "choices": [(f"{shots}Question: {number}?\nAnswer:", choice) for number in range(4) for choice in choices],
        "one token": [(f"{shots}{number}:", letter) for number in range(4) for letter in (" A", " B", " C")],
        "spaces at the end": [("Question: why? ", "because"), ("Question: how?\n\n  ", "so")],
        "no context": [("", choice) for choice in choices],
        "inputs differ": [(f"The {word} was {word} and", " water bread") for word in ("sun", "moon", "tree")],
        "longer than the model reads": [(" ".join(["river"] * 150), choice) for choice in choices],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["choices", "one token", "spaces at the end", "no context", "inputs differ", "longer than the model reads"]
)
def test_scores_are_those_of_the_harness_with_transformers(kind: str, subject: Any, backend: Any) -> None:
    asked = texts(kind)
    ours = subject.loglikelihood(instances("loglikelihood", asked), disable_tqdm=True)
    theirs = backend.loglikelihood(instances("loglikelihood", asked), disable_tqdm=True)
    assert [logprob for logprob, _ in ours] == pytest.approx([logprob for logprob, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_whole_texts_are_scored_in_the_windows_of_the_harness(subject: Any, backend: Any) -> None:
    rng = random.Random(4)
    asked = [(" ".join(sentence(rng, 9) for _ in range(length)),) for length in (1, 30, 60)]
    asked.append(("",))
    ours = subject.loglikelihood_rolling(instances("loglikelihood_rolling", asked), disable_tqdm=True)
    theirs = backend.loglikelihood_rolling(instances("loglikelihood_rolling", asked), disable_tqdm=True)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours[-1] == 0
    assert ours[2] / 60 == pytest.approx(theirs[2] / 60, abs=1e-4)


def test_greedy_answers_are_those_of_the_harness_with_transformers(
    base: Artifact, backend: Any, tmp_path: Path
) -> None:
    told = {"until": [" the", "\n"], "max_gen_toks": 12, "do_sample": False}
    asked = [(f"Question: {number}?\nAnswer:", dict(told)) for number in range(5)]
    context = StepContext(Step("evaluate", 1, "lm_eval"), {"model": base}, tmp_path / "out", tmp_path)
    subject = subject_of(context, Loading(lambda: None, base.path / "model", backend.model.config, "float32"))
    ours = subject.generate_until(instances("generate_until", asked), disable_tqdm=True)
    assert ours == backend.generate_until(instances("generate_until", asked), disable_tqdm=True)
