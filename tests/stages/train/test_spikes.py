from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.train.lab import Lab, chat, losses
from variantforge.errors import LossSpike
from variantforge.stages.train.spikes import AT_LEAST, IN_A_ROW, Spikes

QUIET = [2.0 + 0.01 * (n % 7) for n in range(40)]


def fed(spikes: Spikes, values: Sequence[float]) -> list[bool]:
    return [spikes.add(value) for value in values]


def test_three_high_steps_in_a_row_are_a_spike_and_two_are_not() -> None:
    assert not any(fed(Spikes(), [*QUIET, 9.0, 9.0, 2.0, 9.0, 9.0, 2.0]))
    assert fed(Spikes(), [*QUIET, 9.0, 9.0, 9.0])[-IN_A_ROW:] == [False, False, True]


def test_high_steps_do_not_move_the_range() -> None:
    spikes = Spikes(QUIET)
    limit = spikes.limit
    fed(spikes, [50.0, 60.0])
    assert spikes.limit == limit


@given(st.lists(st.floats(0, 20), min_size=AT_LEAST, max_size=60))
def test_a_loss_that_falls_all_the_time_never_makes_a_spike(values: list[float]) -> None:
    assert not any(fed(Spikes(), sorted(values, reverse=True)))


@given(st.lists(st.floats(0, 0.99), max_size=60))
def test_what_differs_by_less_than_a_nat_never_makes_a_spike(values: list[float]) -> None:
    assert not any(fed(Spikes(), values))


def test_too_few_steps_tell_no_range() -> None:
    assert not any(fed(Spikes(), [*QUIET[: AT_LEAST - 1], 9.0, 9.0, 9.0][: AT_LEAST + 1]))


# --- in a training ------------------------------------------------------------------------------------------------

# 47 steps of what is soon known by heart, then six of what nobody could foresee.
ROWS = [*[chat("Who?", "Me.")] * 94, *[chat("Who?", "qzx ~~ " + "vjw # " * n) for n in range(2, 14)]]
ARGS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 1,
    "learning_rate": 5e-3,
    "train_sampling_strategy": "sequential",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("spikes"), tiny_llama, ROWS)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_a_loss_that_leaves_its_range_stops_before_the_step_and_keeps_what_was_before(lab: Lab) -> None:
    step = lab.step(**ARGS)
    with pytest.raises(LossSpike, match=r"above .* for 3 steps") as caught:
        lab.train(step)
    at = int(caught.value.what.split("at step ")[1].split()[0])
    assert caught.value.next.endswith("train: {on_spike: note}")
    kept = [int(place.name.split("-")[1]) for place in (lab.root / "run/scratch" / step.key / "checkpoints").iterdir()]
    assert (at, max(kept)) == (50, 42)  # of 53 steps each sixth is kept, and 48 was high already


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_one_who_says_so_goes_on_regardless(lab: Lab) -> None:
    import dataclasses

    step = lab.step(**ARGS)
    regardless: Any = dataclasses.replace(step, hints={"on_spike": "note"})
    assert regardless.key == step.key
    lab.events.clear()
    trained = lab.train(regardless, "regardless")
    assert len(losses(trained)) == trained.facts["steps"]
    assert any("for 3 steps" in note for note in lab.notes)
