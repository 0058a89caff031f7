from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.stages.models import load_model, quiet
from variantforge.stages.train.head import compact_head, score


def test_scores_and_slopes_are_those_of_plain_cross_entropy() -> None:
    import torch

    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 16, requires_grad=True), torch.randn(300, 16)
    targets, upstream = torch.randint(0, 300, (50,)), torch.rand(50)
    log_probs, entropy, is_top1 = score(hidden, weight, targets)
    (log_probs * upstream).sum().backward()
    ours, hidden.grad = hidden.grad, None
    plain = (hidden @ weight.T).log_softmax(-1)
    (plain.gather(-1, targets[:, None])[:, 0] * upstream).sum().backward()
    assert torch.allclose(log_probs, plain.gather(-1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropy, -(plain.exp() * plain).sum(-1), atol=1e-5)
    assert torch.equal(is_top1.bool(), plain.argmax(-1) == targets)
    assert torch.allclose(ours, hidden.grad, atol=1e-5)


def test_no_supervised_position_gives_a_zero_that_can_be_trained_on() -> None:
    import torch

    hidden = torch.randn(0, 16, requires_grad=True)
    log_probs, _, _ = score(hidden, torch.randn(30, 16), torch.zeros(0, dtype=torch.long))
    log_probs.sum().backward()
    assert hidden.grad is not None


@pytest.fixture
def fused(tiny_qwen3: Path) -> Any:
    """A model with TRL's own fused head."""
    from trl.trainer.utils import add_fused_lm_head

    model = load_model(tiny_qwen3)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    return model


def batch() -> dict[str, Any]:
    import torch

    torch.manual_seed(1)
    ids = torch.randint(0, 1000, (3, 20))
    labels = ids.masked_fill(torch.rand(ids.shape) < 0.5, -100)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def test_the_compact_head_gives_what_trls_gives(fused: Any) -> None:
    import torch

    embeddings = fused.get_input_embeddings().weight.requires_grad_(True)  # so that a gradient arrives somewhere
    notes: list[str] = []
    results = []
    for compact in (False, True):
        if compact:
            compact_head(fused, notes.append)
        embeddings.grad = None
        outputs = fused(**batch(), fused_lm_head=True)
        outputs.loss.backward()
        results.append((outputs, embeddings.grad.clone()))
    (theirs, their_grad), (ours, our_grad) = results
    assert not notes
    for name in ("loss", "log_probs", "entropy"):
        assert torch.allclose(getattr(theirs, name), getattr(ours, name), atol=1e-5), name
    for name in ("is_top1", "label_mask"):
        assert torch.equal(getattr(theirs, name).bool(), getattr(ours, name).bool()), name
    assert torch.allclose(their_grad, our_grad, atol=1e-6)


def test_without_the_flag_the_model_is_as_it_was(fused: Any) -> None:
    import torch

    inputs = {name: value for name, value in batch().items() if name != "labels"}
    before = fused(**inputs).logits
    compact_head(fused, lambda text: None)
    assert torch.equal(before, fused(**inputs).logits)


def test_an_architecture_it_does_not_fit_keeps_trls_head(fused: Any) -> None:
    """A model whose head does more than multiply: the first batch shows it."""
    notes: list[str] = []
    theirs = fused.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        outputs = theirs(*args, **kwargs)
        outputs.log_probs = outputs.log_probs * 2
        return outputs

    fused.forward = doubled
    compact_head(fused, notes.append)
    outputs = fused(**batch(), fused_lm_head=True)
    assert outputs.log_probs.sum() == doubled(**batch(), fused_lm_head=True).log_probs.sum()
    assert notes == ["the compact head does not agree with TRL's on this architecture; TRL's own is used"]


@pytest.mark.parametrize("change", ["trained", "capped"])
def test_heads_that_are_trained_or_capped_are_left_alone(fused: Any, change: str) -> None:
    if change == "trained":
        fused.get_output_embeddings().weight.requires_grad_(True)
    else:
        fused.config.final_logit_softcapping = 30.0
    theirs = fused.forward
    with quiet():
        compact_head(fused, lambda text: None)
    assert fused.forward == theirs
