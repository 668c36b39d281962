"""Means and intervals over repetitions: exact values, and the laws they obey."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.report.statistics.cells import Summary, summarise, t_quantile

scores = st.lists(st.floats(0.0, 100.0, allow_subnormal=False), min_size=2, max_size=12)


def test_three_repetitions_give_the_papers_interval() -> None:
    summary = Summary((70.0, 71.0, 72.0))
    assert summary.n == 3
    assert summary.mean == 71.0
    assert summary.std == 1.0
    assert summary.normal_half == pytest.approx(1.96 / math.sqrt(3), rel=1e-15)
    assert summary.t_half == pytest.approx(4.302652729749462 / math.sqrt(3), rel=1e-12)


def test_one_repetition_has_a_mean_and_no_interval() -> None:
    summary = Summary((70.0,))
    assert (summary.mean, summary.std, summary.normal_half, summary.t_half) == (70.0, None, None, None)


def test_no_repetition_has_no_summary() -> None:
    assert summarise([]) is None
    for bad in ((), (math.nan,), (1.0, math.inf)):
        with pytest.raises(ValueError, match="finite"):
            Summary(bad)


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (4, 2.776445105), (5, 2.570581836), (9, 2.262157163)],
)
def test_t_quantiles_equal_the_printed_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=1e-8)


def test_t_quantiles_fall_towards_the_normal_one() -> None:
    quantiles = [t_quantile(degrees) for degrees in range(1, 200)]
    assert quantiles == sorted(quantiles, reverse=True)
    assert t_quantile(10_000) == pytest.approx(1.959964, abs=5e-4)
    with pytest.raises(ValueError, match="at least 1"):
        t_quantile(0)


@given(values=scores, shift=st.floats(-50.0, 50.0))
@settings(deadline=None, max_examples=50)
def test_a_shift_moves_the_mean_and_leaves_the_interval(values: list[float], shift: float) -> None:
    here, there = Summary(tuple(values)), Summary(tuple(value + shift for value in values))
    assert there.mean == pytest.approx(here.mean + shift, abs=1e-9)
    assert there.normal_half == pytest.approx(here.normal_half, abs=1e-6)


@given(values=scores)
@settings(deadline=None, max_examples=50)
def test_order_does_not_matter_and_student_is_wider(values: list[float]) -> None:
    summary = Summary(tuple(values))
    assert Summary(tuple(reversed(values))).mean == summary.mean
    assert summary.t_half is not None
    assert summary.normal_half is not None
    assert summary.t_half >= summary.normal_half
