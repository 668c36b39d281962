"""The bootstrap over patients: AUROC under weights, and intervals that agree with scikit-learn on each draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from harness.scoring.bootstrap import auroc_intervals, bootstrap_auroc
from harness.scoring.resampling import Ranked, resample


def weighted_auroc(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC (B,) under weights (N, B) of the images, each of a patient of its own."""
    ranked = Ranked.by_score(targets, scores, np.arange(len(scores)))
    return resample(ranked, weights.astype(np.uint16), 1)[:, 0, 0]


def weighted(scores: list[float], targets: list[int], *weights: list[int]) -> list[float]:
    return weighted_auroc(np.array(scores), np.array(targets), np.array(weights).T).tolist()


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
    (found,) = weighted_auroc(scores.astype(float), targets, weights[:, None])
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
    weights = generator.integers(0, 3, (50, 4))
    found = weighted_auroc(scores, targets, weights)
    np.testing.assert_allclose(found, weighted_auroc(-scores, 1 - targets, weights), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, 1 - weighted_auroc(scores, 1 - targets, weights), rtol=0, atol=1e-12)


def made(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits with ties and targets of two labels that they tell of."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, 2)) < 0.4).astype(np.uint8)
    logits = np.round(rng.normal(size=(num, 2)) + targets, 1)
    return logits, targets


def test_each_draw_is_scikit_learns_auroc_of_the_images_drawn() -> None:
    logits, targets = made(60)
    patients = np.arange(60) // 3
    targets[0, 0] = 255
    found, mean = auroc_intervals(logits, targets, patients.astype(str), ["a", "b"], resamples=40, seed=5)
    _, patient = np.unique(patients.astype(str), return_inverse=True)
    chosen = np.random.default_rng((5, 20)).integers(0, 20, (40, 20))
    drawn = np.stack([np.bincount(row, minlength=20) for row in chosen])
    values = np.full((40, 2), np.nan)
    for row, counts in enumerate(drawn):
        images = np.repeat(np.arange(60), counts[patient])
        for column in range(2):
            known = images[targets[images, column] != 255]
            values[row, column] = roc_auc_score(targets[known, column], logits[known, column])
    for column, label in enumerate(["a", "b"]):
        assert found[label] == pytest.approx(tuple(np.percentile(values[:, column], [2.5, 97.5])), abs=1e-12)
    assert mean == pytest.approx(tuple(np.percentile(values.mean(axis=1), [2.5, 97.5])), abs=1e-12)


def test_copies_of_an_image_add_no_certainty() -> None:
    """Ten copies of each image of a patient: the interval over patients stays what it was."""
    logits, targets = made(80, seed=1)
    patients = np.arange(80)
    once, _ = auroc_intervals(logits, targets, patients, ["a", "b"], resamples=200)
    copied, _ = auroc_intervals(
        *(np.repeat(x, 10, axis=0) for x in (logits, targets, patients)), ["a", "b"], resamples=200
    )
    assert once["a"] == pytest.approx(copied["a"], abs=1e-12)


def test_a_label_of_one_class_has_none() -> None:
    logits, targets = made(30)
    targets[:, 1] = 0
    found, mean = auroc_intervals(logits, targets, np.arange(30), ["a", "b"], resamples=50)
    assert found["b"] is None
    assert mean == found["a"]
    targets[:, 0] = 255
    assert auroc_intervals(logits, targets, np.arange(30), ["a", "b"], resamples=50) == ({"a": None, "b": None}, None)


def test_models_of_one_test_split_are_scored_on_the_same_resamples() -> None:
    logits, targets = made(60)
    patients = np.arange(60) // 3
    one, other = (bootstrap_auroc(values, targets, patients, resamples=20, seed=4) for values in (logits, -logits))
    np.testing.assert_allclose(one.drawn, 1 - other.drawn, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.point, 1 - other.point, rtol=0, atol=1e-12)
    assert one.drawn.shape == (20, 2)
