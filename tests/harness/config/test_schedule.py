"""Learning rates, selection and early stopping: exact values and laws."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from harness.config import Schedule, chexclusion
from harness.config.schedule import (
    Validated,
    best_of,
    is_better,
    learning_rate,
    step_factor,
    stops_early,
    validation_due,
)

PAPER = Schedule()
PLATEAU = Schedule(policy="plateau", learning_rate=8.0, plateau_patience=3, select_by="loss")


def history(*losses: float, every: int = 1) -> list[Validated]:
    return [
        Validated(epoch=every * (position + 1) - 1, loss=loss, mean_auroc=1 - loss)
        for position, loss in enumerate(losses)
    ]


@pytest.mark.parametrize(("epoch", "rate"), [(0, 5e-5), (15, 5e-5), (16, 2.5e-5), (64, 3.125e-6), (127, 3.90625e-7)])
def test_the_papers_learning_rates(epoch: int, rate: float) -> None:
    assert learning_rate(PAPER, epoch, []) == rate


def test_plateau_halves_at_each_epoch_that_is_three_behind_the_best() -> None:
    losses = [0.9, 0.5, 0.6, 0.6, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5]
    rates = [learning_rate(PLATEAU, epoch, history(*losses)) for epoch in range(11)]
    # Best at epoch 1; epochs 4 and 5 lie 3 and 4 behind it; best again at 6; epoch 9 lies 3 behind that.
    assert rates == [8.0, 8.0, 8.0, 8.0, 8.0, 4.0, 2.0, 2.0, 2.0, 2.0, 1.0]


def test_plateau_decides_only_where_it_was_validated() -> None:
    sparse = history(0.5, 0.6, 0.6, every=2)  # epochs 1, 3, 5
    assert [learning_rate(PLATEAU, epoch, sparse) for epoch in (4, 5, 6, 7)] == [8.0, 8.0, 4.0, 4.0]


@settings(deadline=None, max_examples=50)
@given(
    losses=st.lists(st.floats(0, 1), max_size=20),
    epoch=st.integers(0, 25),
    policy=st.sampled_from(["step", "plateau"]),
)
def test_the_rate_depends_on_the_past_alone_and_never_rises(losses: list[float], epoch: int, policy: str) -> None:
    schedule = Schedule(policy=policy, halve_every=3)  # type: ignore[arg-type]
    full = history(*losses)
    assert learning_rate(schedule, epoch, full) == learning_rate(schedule, epoch, full[:epoch])
    assert learning_rate(schedule, epoch + 1, full) <= learning_rate(schedule, epoch, full)


def test_the_cosine_falls_from_step_to_step_and_is_halved_in_the_middle() -> None:
    schedule = Schedule(epochs=2, policy="cosine", learning_rate=8.0)
    assert [learning_rate(schedule, epoch, []) for epoch in (0, 1)] == [8.0, 8.0]
    factors = [step_factor(schedule, epoch, step, 2) for epoch in (0, 1) for step in (0, 1)]
    assert factors == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


def test_the_warm_up_rises_step_by_step_and_the_schedule_goes_on_behind_it() -> None:
    schedule = Schedule(epochs=3, warmup_epochs=1.5)
    factors = [step_factor(schedule, epoch, step, 4) for epoch in range(3) for step in range(4)]
    assert factors == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1, 1, 1, 1])
    cosine = Schedule(epochs=3, warmup_epochs=1.0, policy="cosine")
    assert [step_factor(cosine, epoch, 0, 1) for epoch in range(3)] == pytest.approx([1.0, 1.0, 0.5])


@given(epoch=st.integers(0, 127), step=st.integers(0, 99), policy=st.sampled_from(["step", "plateau"]))
def test_without_warm_up_an_epoch_has_one_rate(epoch: int, step: int, policy: str) -> None:
    assert step_factor(Schedule(policy=policy), epoch, step, 100) == 1.0  # type: ignore[arg-type]


@given(warmup=st.floats(0, 9.5), steps=st.integers(1, 20), policy=st.sampled_from(["step", "cosine"]))
def test_the_factor_rises_to_one_and_then_never_rises(warmup: float, steps: int, policy: str) -> None:
    schedule = Schedule(epochs=10, warmup_epochs=warmup, policy=policy)  # type: ignore[arg-type]
    factors = [step_factor(schedule, epoch, step, steps) for epoch in range(10) for step in range(steps)]
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert min(factors) > 0.0 and max(factors) <= 1.0


def test_validation_every_third_epoch_and_after_the_last() -> None:
    schedule = Schedule(epochs=8, validate_every=3)
    assert [epoch for epoch in range(8) if validation_due(schedule, epoch)] == [2, 5, 7]


def test_the_first_of_equal_epochs_is_the_best() -> None:
    made = history(0.5, 0.2, 0.2, 0.3)
    assert best_of(PAPER, made) == made[1]
    assert best_of(PLATEAU, made) == made[1]
    assert best_of(PAPER, []) is None


def test_selection_by_loss_and_by_auroc_can_disagree() -> None:
    low_loss = Validated(epoch=0, loss=0.1, mean_auroc=0.6)
    high_auroc = Validated(epoch=1, loss=0.2, mean_auroc=0.7)
    assert best_of(PAPER, [low_loss, high_auroc]) == high_auroc
    assert best_of(PLATEAU, [low_loss, high_auroc]) == low_loss


def test_selection_by_an_undefined_auroc_is_refused() -> None:
    undefined = Validated(epoch=0, loss=0.1, mean_auroc=None)
    with pytest.raises(InputError, match="select_by = 'loss'"):
        is_better(PAPER, undefined, None)
    assert is_better(PLATEAU, undefined, None)


def test_early_stopping_counts_epochs_since_the_best() -> None:
    schedule = Schedule(patience=2)
    assert not stops_early(schedule, [])
    assert not stops_early(schedule, history(0.5, 0.2, 0.3))
    assert stops_early(schedule, history(0.5, 0.2, 0.3, 0.3))
    assert not stops_early(Schedule(), history(0.1, *[0.5] * 100))
    assert not stops_early(chexclusion(), history(0.1, *[0.5] * 9))
    assert stops_early(chexclusion(), history(0.1, *[0.5] * 10))
