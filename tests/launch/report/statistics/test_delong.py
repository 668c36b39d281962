"""DeLong's test: pROC's documented example, and the plain sum over all pairs of images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.report.statistics.sources import delong, delong_p, placements

# The 41 patients with a poor outcome, then the 72 with a good one, of Turck et al., Intensive Care Medicine 36
# (2010), the example aSAH of R's pROC: how each marker ranks patients of different outcomes, with ties.
TARGETS = np.array([1] * 41 + [0] * 72, dtype=np.uint8)
NDKA = (
    "42 26 32 40 4 10 20 48 52 48 48 16 36 44 6 8 34 2 56 44 18 20 24 34 46 29 44 8 54 39 4 13 44 4 12 48 22 36 50 "
    "20 40 1 9 7 19 5 39 5 43 33 43 41 51 11 5 25 5 5 55 27 15 15 43 3 7 5 13 31 7 37 49 7 5 25 11 7 31 47 45 17 23 "
    "53 5 41 15 19 19 37 3 41 25 11 19 43 19 23 7 15 19 47 9 25 29 49 21 25 11 47 17 35 45 5 33"
)
WFNS = (
    "5 3 7 9 9 9 9 3 9 3 1 3 9 7 7 3 9 9 9 3 9 3 9 3 7 9 7 7 1 7 7 3 3 9 9 3 3 9 9 9 9 1 1 1 1 9 1 3 3 1 3 3 1 1 1 "
    "3 1 3 1 1 5 7 1 7 1 9 9 1 1 3 7 1 1 3 3 1 3 1 3 3 1 1 1 1 3 1 3 1 1 5 3 7 3 1 7 1 1 9 7 3 3 1 1 1 5 1 3 3 7 7 "
    "1 1 1"
)
S100B = (
    "13 9 19 12 36 42 40 3 29 7 3 34 32 39 42 24 42 42 42 3 42 26 0 7 22 42 24 42 5 24 13 9 11 22 42 15 42 27 42 42 "
    "36 13 15 9 1 37 21 9 9 1 5 1 7 11 3 21 3 11 13 21 1 19 15 31 7 41 37 19 3 35 37 11 5 7 5 1 13 9 15 17 1 1 7 1 "
    "7 5 19 7 5 29 11 25 3 9 27 3 1 23 33 9 17 5 15 9 3 1 21 17 37 21 17 41 39"
)
MARKERS = {name: np.array(text.split(), float) for name, text in (("ndka", NDKA), ("wfns", WFNS), ("s100b", S100B))}


@pytest.mark.parametrize(
    ("first", "second", "difference", "z", "p"),
    [
        ("s100b", "wfns", 0.823678861788618 - 0.731368563685637, 2.20898359144091, 0.0271757822291882),
        ("ndka", "wfns", 0.823678861788618 - 0.611957994579946, 2.79777591868904, 0.00514557970691098),
        ("s100b", "ndka", 0.611957994579946 - 0.731368563685637, -1.39077002573558, 0.164295175223054),
    ],
)
def test_procs_documented_example(first: str, second: str, difference: float, z: float, p: float) -> None:
    """The AUROCs, Z and p-values of pROC's roc.test, from its documentation and tests."""
    ranked = [placements(MARKERS[name], TARGETS)[None] for name in (first, second)]
    found, variance = delong(*ranked, TARGETS)
    assert found == pytest.approx(difference, abs=1e-12)
    assert found / math.sqrt(variance) == pytest.approx(z, abs=1e-10)
    assert delong_p(*ranked, TARGETS) == pytest.approx(p, abs=1e-12)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(4, N) scores with ties and (N,) targets, some of them left out."""
    n = draw(st.integers(4, 24))
    values = draw(st.lists(st.integers(0, 5), min_size=4 * n, max_size=4 * n))
    targets = draw(st.lists(st.sampled_from([0, 1, 255]), min_size=n, max_size=n))
    return np.array(values, float).reshape(4, n), np.array(targets, np.uint8)


def covariance_over_pairs(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """DeLong's S10 / m + S01 / n by the definition, over all pairs of a positive and a negative image."""
    positive, negative = scores[:, targets == 1], scores[:, targets == 0]
    kernel = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    parts = (np.cov(kernel.mean(axis=axis)) / kernel.shape[3 - axis] for axis in (2, 1))
    return np.sum(list(parts), axis=0)


@given(scored())
@settings(deadline=None, max_examples=60)
def test_ranks_give_what_all_pairs_of_images_give(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = case
    ranked = np.stack([placements(row, targets) for row in scores])
    difference, variance = delong(ranked[:1], ranked[1:], targets)
    if min((targets == 1).sum(), (targets == 0).sum()) < 2:
        assert math.isnan(difference) and math.isnan(variance)
        return
    contrast = np.array([-1, 1 / 3, 1 / 3, 1 / 3])
    assert variance == pytest.approx(contrast @ covariance_over_pairs(scores, targets) @ contrast, abs=1e-12)


def test_equal_scores_differ_by_nothing() -> None:
    ranked = placements(MARKERS["ndka"], TARGETS)[None]
    assert delong_p(ranked, ranked, TARGETS) == 1.0
