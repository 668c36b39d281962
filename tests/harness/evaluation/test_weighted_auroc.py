"""AUROC under weights: exact on cases done by hand, and scikit-learn's on each resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from harness.evaluation.bootstrap import weighted_auroc


def weighted(scores: list[float], targets: list[int], *weights: list[int]) -> list[float]:
    columns = np.array(weights, np.float32).T
    return weighted_auroc(np.array(scores), np.array(targets), np.arange(len(scores)), columns).tolist()


def test_cases_done_by_hand() -> None:
    ones = [1, 1, 1, 1]
    assert weighted([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], ones) == [1.0]
    assert weighted([0.4, 0.3, 0.2, 0.1], [0, 0, 1, 1], ones) == [0.0]
    assert weighted([0.1, 0.3, 0.2, 0.4], [0, 0, 1, 1], ones) == [0.75]
    assert weighted([0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1], ones) == [0.5]
    assert weighted([0.1, 0.2, 0.2, 0.3], [0, 0, 1, 1], ones) == [(1 + 0.5 + 2) / 4]
    # Weights 2, 1, 3, 1: the positive at 0.2 (weight 3) beats 2 of 3 negatives and the one at 0.4 beats all.
    assert weighted([0.1, 0.3, 0.2, 0.4], [0, 0, 1, 1], [2, 1, 3, 1]) == [(3 * 2 + 1 * 3) / (4 * 3)]


def test_a_resample_of_one_class_has_none_and_other_values_are_left_out() -> None:
    found = weighted([0.1, 0.2, 0.3], [0, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0])
    assert np.isnan(found[:2]).all()
    assert found[2] == 1.0
    assert weighted([0.1, 0.2, 0.3], [0, 255, 1], [1, 5, 1]) == [1.0]
    assert np.isnan(weighted([0.1, 0.2], [1, 1], [1, 1])).all()
    assert np.isnan(weighted([0.1, 0.2], [0, 255], [1, 1])).all()


@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0, 1]), st.integers(0, 4)), min_size=2, max_size=40)
)
@settings(deadline=None, max_examples=150)
def test_it_is_scikit_learns_with_sample_weights(rows: list[tuple[int, int, int]]) -> None:
    scores, targets, weights = (np.array(column) for column in zip(*rows, strict=True))
    owners = np.arange(len(rows))
    (found,) = weighted_auroc(scores.astype(float), targets, owners, weights[:, None].astype(np.float32))
    if min(weights[targets == 1].sum(), weights[targets == 0].sum()) == 0:
        assert np.isnan(found)
    else:
        drawn = np.repeat(np.arange(len(rows)), weights)
        assert found == pytest.approx(roc_auc_score(targets[drawn], scores[drawn]), abs=1e-12)
        assert found == pytest.approx(roc_auc_score(targets, scores, sample_weight=weights), abs=1e-12)


@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=40)
def test_turning_scores_and_classes_round_changes_nothing(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    scores, targets = generator.integers(0, 9, 50).astype(float), (generator.random(50) < share).astype(int)
    weights = generator.integers(0, 3, (50, 4)).astype(np.float32)
    owners = np.arange(50)
    found = weighted_auroc(scores, targets, owners, weights)
    np.testing.assert_allclose(found, weighted_auroc(-scores, 1 - targets, owners, weights), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, 1 - weighted_auroc(scores, 1 - targets, owners, weights), rtol=0, atol=1e-12)
