from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from variantforge.errors import BaseError
from variantforge.stages.packed_weights import is_packed, whole_weight, whole_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

INPUTS, OUTPUTS, GROUP = 64, 24, 32


def numbers(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """q [inputs, outputs], zeros [groups, outputs] and scales [groups, outputs], all different."""
    import torch

    torch.manual_seed(3)
    q = torch.randint(0, 16, (INPUTS, OUTPUTS), dtype=torch.int32)
    zeros = torch.randint(1, 16, (INPUTS // GROUP, OUTPUTS), dtype=torch.int32)
    return q, zeros, torch.rand(INPUTS // GROUP, OUTPUTS).half() + 0.01


def packed(values: Tensor, order: tuple[int, ...] = tuple(range(8))) -> Tensor:
    """[rows, columns] -> [rows, columns / 8]: the nibble at place i is column ``order[i]`` of eight."""
    import torch

    words = torch.zeros(values.shape[0], values.shape[1] // 8, dtype=torch.int64)
    for place, column in enumerate(order):
        words |= values[:, column::8].long() << (4 * place)
    return words.where(words < 2**31, words - 2**32).to(torch.int32)


def expected(q: Tensor, zeros: Tensor, scales: Tensor, group: Tensor) -> Tensor:
    return ((q - zeros[group]).float() * scales.float()[group]).T


@pytest.mark.parametrize("format", ["gptq", "gptq_v2"])
def test_gptq_weights_are_what_was_packed(format: str) -> None:
    import torch

    q, zeros, scales = numbers(format)
    parts = {
        "qweight": packed(q.T).T.contiguous(),
        "qzeros": packed(zeros - 1 if format == "gptq" else zeros),
        "scales": scales,
        "g_idx": torch.arange(INPUTS).flip(0) // GROUP,
    }
    found = whole_weight(parts, {"quant_method": "gptq", "checkpoint_format": format})
    assert found.equal(expected(q, zeros, scales, parts["g_idx"]))


def test_without_names_of_groups_inputs_stand_in_order() -> None:
    import torch

    q, zeros, scales = numbers("gptq")
    parts = {"qweight": packed(q.T).T, "qzeros": packed(zeros - 1), "scales": scales}
    found = whole_weight(parts, {"quant_method": "gptq"})
    assert found.equal(expected(q, zeros, scales, torch.arange(INPUTS) // GROUP))


def test_awq_weights_are_what_was_packed() -> None:
    import torch

    q, zeros, scales = numbers("awq")
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    parts = {"qweight": packed(q, order), "qzeros": packed(zeros, order), "scales": scales}
    found = whole_weight(parts, {"quant_method": "awq"})
    assert found.equal(expected(q, zeros, scales, torch.arange(INPUTS) // GROUP))


def test_what_is_not_whole_or_not_in_four_bits_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    q, zeros, _ = numbers("gptq")
    save_file({"a.qweight": packed(q.T).T.contiguous(), "a.qzeros": packed(zeros)}, tmp_path / "model.safetensors")
    with pytest.raises(BaseError, match="a lacks scales"):
        whole_weights(tmp_path, {"quant_method": "gptq", "bits": 4})
    with pytest.raises(BaseError, match="3 bits"):
        whole_weights(tmp_path, {"quant_method": "gptq", "bits": 3})


def test_only_their_own_settings_are_taken_for_packed() -> None:
    assert is_packed({"quant_method": "gptq"})
    assert is_packed({"quant_method": "awq"})
    assert not is_packed({"quant_method": "bitsandbytes"})
    assert not is_packed(None)
