"""Intervals of AUROC over patients: agree with scikit-learn's AUROC of the drawn images, and widen as they should."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.evaluation.bootstrap import auroc_intervals


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
