from __future__ import annotations

import pytest

from variantforge.stages.rounding import to_bf16


def test_updates_far_below_the_grid_survive_in_the_mean() -> None:
    import torch

    torch.manual_seed(0)
    base = torch.randn(512, 512).mul(0.1).to(torch.bfloat16).float()
    update = torch.full_like(base, 2e-5)  # a twentieth of the step between neighbours at 0.1
    rounded = to_bf16(base + update, "w").float()
    assert float((rounded - base).mean()) == pytest.approx(2e-5, rel=0.05)
    assert float(((base + update).to(torch.bfloat16).float() - base).abs().median()) == 0.0  # to nearest: gone


def test_values_on_the_grid_stay_as_they_are() -> None:
    import torch

    values = torch.tensor([0.0, -0.0, 1.0, -3.5, 1e-30, 3e38, float("inf"), -float("inf")]).to(torch.bfloat16)
    assert torch.equal(to_bf16(values.float(), "w"), values)


def test_not_a_number_stays_one() -> None:
    import torch

    assert bool(to_bf16(torch.tensor([float("nan")]), "w").isnan().all())


def test_both_signs_round_to_a_neighbour() -> None:
    import torch

    values = torch.linspace(-2, 2, 10_001)
    rounded = to_bf16(values, "w").float()
    assert ((rounded - values).abs() <= values.abs() * 2**-7).all()
    assert float((rounded - values).mean().abs()) < 1e-4


def test_the_dice_are_cast_by_the_name() -> None:
    import torch

    values = torch.linspace(0.1, 0.2, 1000)
    assert torch.equal(to_bf16(values, "w"), to_bf16(values, "w"))
    assert not torch.equal(to_bf16(values, "w"), to_bf16(values, "v"))
