"""Scores: hand-computed values, ignored entries, single-class labels, logits that are not numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasets.errors import InputError
from datasets.sources.labels import IGNORED
from harness.evaluation.metrics import auroc, cross_entropy, mean_defined, score, single_class_labels

LABELS = ("a", "b", "c")


def test_aurocs_counted_by_hand() -> None:
    logits = np.array([[0.1, 3, 0], [0.4, 2, 0], [0.35, 1, 0], [0.8, 0, 0]], dtype=np.float32)
    targets = np.array([[0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 0]], dtype=np.uint8)
    # a: 3 of 4 pairs are in order; b: none is; c: all are tied, half a point each.
    assert auroc(logits, targets, LABELS) == {"a": 0.75, "b": 0.0, "c": 0.5}
    assert score(logits, targets, LABELS).mean_auroc == pytest.approx((0.75 + 0.0 + 0.5) / 3)


def test_ignored_entries_take_no_part() -> None:
    logits = np.array([[0.0], [1.0], [2.0], [-9.0]], dtype=np.float32)
    targets = np.array([[0], [0], [1], [IGNORED]], dtype=np.uint8)
    assert auroc(logits, targets, ("a",)) == {"a": 1.0}
    kept = cross_entropy(logits[:3], targets[:3])
    assert cross_entropy(logits, targets) == kept
    assert kept == pytest.approx((math.log(2) + math.log1p(math.e) + math.log1p(math.e**-2)) / 3)


def test_single_class_labels_are_named_and_left_out_of_the_mean() -> None:
    logits = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    targets = np.array([[0, 1, IGNORED], [1, 1, 1]], dtype=np.uint8)
    scores = score(logits, targets, LABELS)
    assert scores.auroc == {"a": 1.0, "b": None, "c": None}
    assert scores.undefined_labels == ["b", "c"] == single_class_labels(targets, LABELS)
    assert scores.mean_auroc == 1.0
    assert scores.to_dict()["undefined_labels"] == ["b", "c"]
    assert mean_defined([None, None]) is None


def test_logits_that_are_not_finite_are_an_error_and_not_a_score() -> None:
    targets = np.array([[0], [1]], dtype=np.uint8)
    for bad in (np.nan, np.inf):
        with pytest.raises(FloatingPointError, match="1 of 2 images"):
            score(np.array([[0.0], [bad]]), targets, ("a",))


def test_nothing_known_is_refused() -> None:
    with pytest.raises(InputError, match="every target is ignored"):
        score(np.zeros((2, 1)), np.full((2, 1), IGNORED, dtype=np.uint8), ("a",))


def test_extreme_logits_have_a_finite_cross_entropy() -> None:
    logits = np.array([[1000.0], [-1000.0]])
    assert cross_entropy(logits, np.array([[1], [0]], dtype=np.uint8)) == 0.0
    assert cross_entropy(logits, np.array([[0], [1]], dtype=np.uint8)) == 1000.0


@settings(deadline=None, max_examples=40)
@given(
    logits=arrays(np.float32, (12, 3), elements=st.integers(-8, 8).map(float)),
    targets=arrays(np.uint8, (12, 3), elements=st.sampled_from([0, 1, IGNORED])),
    permutation=st.permutations(range(12)),
)
def test_auroc_is_the_share_of_ordered_pairs_whatever_the_order(
    logits: np.ndarray, targets: np.ndarray, permutation: list[int]
) -> None:
    found = auroc(logits, targets, LABELS)
    assert found == auroc(logits[permutation], targets[permutation], LABELS)
    for column, label in enumerate(LABELS):
        positive, negative = logits[targets[:, column] == 1, column], logits[targets[:, column] == 0, column]
        if not len(positive) or not len(negative):
            assert found[label] is None
            continue
        ordered = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        assert found[label] == pytest.approx(ordered.mean())
