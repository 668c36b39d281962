"""p-values, Holm's correction, and intervals over seeds and patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.report.statistics.bootstrap import Interval, Resampled, paired_intervals
from launch.report.statistics.sources import bootstrap_p, holm, mixed_interval


def test_holm_on_published_p_values() -> None:
    """Benjamini and Hochberg (1995), section 3.2: step-wise control of the family-wise error rejects the first 3."""
    values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    adjusted = holm(values)
    assert [p <= 0.05 for p in adjusted] == [True] * 3 + [False] * 12
    assert adjusted[:5] == pytest.approx([0.0015, 0.0056, 0.0247, 0.1140, 0.2211])


def test_holm_keeps_the_order_and_passes_over_what_was_not_tested() -> None:
    """R: p.adjust(c(0.01, 0.04, NA, 0.03, 0.005), "holm")."""
    adjusted = holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_as_its_procedure_does(values: list[float]) -> None:
    adjusted = holm(values)
    steps = sorted(range(len(values)), key=lambda i: values[i])
    rejecting = True
    for rank, i in enumerate(steps):
        rejecting = rejecting and values[i] * (len(values) - rank) <= 0.05
        assert (adjusted[i] <= 0.05) == rejecting


def test_p_counts_the_resamples_on_the_smaller_side() -> None:
    drawn = np.array([-1.0] * 2 + [1.0] * 97 + [np.nan] * 5)
    assert bootstrap_p(drawn) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(-drawn) == bootstrap_p(drawn)
    assert bootstrap_p(np.ones(1999)) == pytest.approx(0.001)
    assert bootstrap_p(np.zeros(10)) == 1.0
    assert math.isnan(bootstrap_p(np.array([np.nan])))


def test_without_spread_by_patients_the_interval_is_welchs() -> None:
    """scipy.stats.ttest_ind(other, base, equal_var=False).confidence_interval(0.95)."""
    from scipy.stats import ttest_ind

    base, other = np.array([0.70, 0.72, 0.71]), np.array([0.74, 0.71, 0.78, 0.75])
    expected = ttest_ind(other, base, equal_var=False).confidence_interval(0.95)
    found = mixed_interval(base, other, 0.0)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    alone = mixed_interval(base[:1], other, 0.01)
    assert math.isnan(alone.sd_seeds) and math.isnan(alone.low) and alone.sd_patients == 0.01


def test_both_levels_drawn_anew_spread_as_the_two_sources_together() -> None:
    """But for the factor n / (n - 1) by which drawing n repetitions with replacement sees too little of seeds."""
    generator = np.random.default_rng(0)
    base, other, sd_patients = np.array([0.1, 0.4, 0.2]), np.array([0.5, 0.3, 0.9]), 0.2
    draws = [values[generator.integers(0, 3, (200_000, 3))].mean(axis=1) for values in (base, other)]
    drawn = draws[1] - draws[0] + sd_patients * generator.standard_normal(200_000)
    found = mixed_interval(base, other, sd_patients)
    assert drawn.var() == pytest.approx(found.sd_patients**2 + 2 / 3 * found.sd_seeds**2, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_intervals_over_planted_seeds_and_patients_hold_the_truth_19_times_of_20(share: float) -> None:
    """Normal effects of seeds (``share`` of the variance) and patients; two methods of 3 seeds each."""
    rng, patients, labels, resamples, level = np.random.default_rng(1), 60, 400, 200, 0.7
    held, by_patients_alone = [], []
    for _ in range(8):
        gains = rng.normal(0, math.sqrt((1 - share) * patients), (patients, labels))
        counts = rng.multinomial(patients, np.full(patients, 1 / patients), resamples) / patients
        seeds = rng.normal(0, math.sqrt(share * 3 / 2), (6, labels))
        runs = [
            Resampled(
                labels=tuple(map(str, range(labels))),
                test_set="",
                num_images=0,
                num_patients=0,
                positives=np.zeros(labels),
                point=level + effect + method * gains.mean(axis=0),
                drawn=level + effect + method * (counts @ gains),
                targets=np.zeros((0, labels), np.uint8),
                placements=np.zeros((0, labels), np.int32),
            )
            for effect, method in zip(seeds, (0, 0, 0, 1, 1, 1), strict=True)
        ]
        intervals: list[Interval] = paired_intervals(runs[:3], runs[3:])[:-1]
        held += [found.mixed_low <= 0 <= found.mixed_high for found in intervals]
        by_patients_alone += [found.low <= 0 <= found.high for found in intervals]
    assert 0.935 <= np.mean(held) <= 0.975
    if share >= 0.5:  # an interval by patients alone promises too much where seeds matter
        assert np.mean(by_patients_alone) < 0.85
