"""Scores and their resamples agree with scikit-learn; planted gaps, and none, are told apart."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics

from datasets.errors import InputError
from harness.evaluation.calibration import Calibration
from harness.evaluation.predictions_file import logits_of, targets_of
from harness.scoring.clinical import (
    MEAN,
    ScoreOptions,
    comparable,
    gap,
    score_predictions,
)
from harness.scoring.groups import partitions
from harness.scoring.resampling import SCORES, Ranked, draw_patients, resample
from harness.scoring.run_scores import document

IGNORED = 255


def frame_of(targets: np.ndarray, logits: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Predictions of labels A, B, ...; every two images are of one patient."""
    number = np.arange(len(targets))
    values: dict[str, Any] = {
        "index": number,
        "path": number.astype(str),
        "patient": (number // 2).astype(str),
        **columns,
    }
    names = [chr(65 + i) for i in range(targets.shape[1])]
    values |= {f"target:{name}": targets[:, i].astype(np.uint8) for i, name in enumerate(names)}
    values |= {f"logit:{name}": logits[:, i].astype(np.float32) for i, name in enumerate(names)}
    return pd.DataFrame(values)


def drawn_frame(seed: int, num: int, *, shift: Any = 0.0, **columns: Any) -> pd.DataFrame:
    """Two labels; ``shift`` is taken from the logits of positive images."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, 2)) < 0.4).astype(np.uint8)
    logits = rng.normal(size=(num, 2)) + targets * (1.5 - np.reshape(shift, (-1, 1)))
    return frame_of(targets, logits - 0.7, **columns)


def fitted(frame: pd.DataFrame) -> Calibration:
    labels = [name.removeprefix("target:") for name in frame if name.startswith("target:")]
    return Calibration.fit(
        targets=targets_of(frame), logits=logits_of(frame), labels=labels, content_hash="", weights_hash=""
    )


def by_scikit_learn(
    targets: np.ndarray, scores: np.ndarray, p: np.ndarray, q: np.ndarray, threshold: float, weights: np.ndarray
) -> list[float]:
    """The scores in order with sample weights."""
    kept = (targets <= 1) & (weights > 0)
    y, s, p, q, w = (values[kept] for values in (targets, scores, p, q, weights))
    total = w.sum()
    prevalence = float(np.average(y, weights=w)) if total else math.nan
    if not 0 < prevalence < 1:
        return [*[math.nan] * 9, prevalence]
    called = s >= threshold

    def ece(values: np.ndarray) -> float:
        bins = np.minimum((values * 15).astype(int), 14)
        return sum(abs(float((w * (y - values))[bins == number].sum())) for number in range(15)) / float(total)

    return [
        metrics.roc_auc_score(y, s, sample_weight=w),
        metrics.average_precision_score(y, s, sample_weight=w),
        metrics.recall_score(y, called, sample_weight=w),
        metrics.recall_score(y, called, pos_label=0, sample_weight=w),
        metrics.f1_score(y, called, sample_weight=w),
        metrics.brier_score_loss(y, p, sample_weight=w),
        ece(p),
        metrics.brier_score_loss(y, q, sample_weight=w),
        ece(q),
        prevalence,
    ]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_resamples_are_scikit_learns_with_weights(data: st.DataObject) -> None:
    """Scores with many ties, ignored targets, groups of one class and images in no group."""
    num = data.draw(st.integers(1, 30))

    def column(values: st.SearchStrategy[Any]) -> np.ndarray:
        return np.array(data.draw(st.lists(values, min_size=num, max_size=num)))

    targets = column(st.sampled_from([0, 1, 1, IGNORED])).astype(np.uint8)
    scores = column(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 3.0])).astype(np.float32)
    groups = column(st.integers(-1, 2)).astype(np.int64)
    owners = column(st.integers(0, 4)).astype(np.int64)
    threshold = data.draw(st.sampled_from([-3.0, -0.5, 0.1, 9.0]))
    p, q = (expit(scores.astype(np.float64) / temperature) for temperature in (1.0, 2.5))
    counts = draw_patients(5, 7, seed=1)
    ranked = Ranked.of(targets, scores, (p, q), threshold, owners, groups)
    found = resample(ranked, counts, 3)
    for draw in range(7):
        for group in range(3):
            weights = np.where(groups == group, counts[owners, draw], 0).astype(np.float64)
            expected = by_scikit_learn(targets, scores, p, q, threshold, weights)
            assert found[draw, group] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_draws_fill_whole_blocks_and_parts_of_them() -> None:
    targets, scores = np.array([0, 1, 0, 1], np.uint8), np.array([0.0, 1.0, 2.0, 3.0], np.float32)
    ranked = Ranked.of(targets, scores, (expit(scores),) * 2, 0.5, np.arange(4), np.zeros(4, np.int64))
    counts = draw_patients(4, 150, seed=0)
    whole = resample(ranked, counts, 1)
    parts = [resample(ranked, np.ascontiguousarray(counts[:, [draw]]), 1)[0] for draw in range(150)]
    assert np.array_equal(whole, np.stack(parts), equal_nan=True)


def test_points_are_scikit_learns() -> None:
    frame = drawn_frame(3, 300)
    frame.loc[:40, "target:A"] = IGNORED
    calibration = fitted(drawn_frame(4, 200))
    scored, *_ = score_predictions(frame, calibration, ScoreOptions(resamples=2))
    targets, logits, label = targets_of(frame)[:, 0], logits_of(frame)[:, 0], calibration.labels["A"]
    q = expit(logits.astype(np.float64) / label.temperature)
    expected = by_scikit_learn(
        targets, logits, expit(logits.astype(np.float64)), q, label.thresholds["youden"], np.ones(300)
    )
    assert scored.point[0, 0] == pytest.approx(expected, abs=1e-12)
    assert scored.point[0, 2] == pytest.approx(scored.point[0, :2].mean(axis=0), abs=1e-12)
    assert scored.positives[0].tolist() == [(targets == 1).sum(), (targets_of(frame)[:, 1] == 1).sum()]


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0], [IGNORED] * 3])
def test_one_class_and_none_have_no_score(targets: list[int]) -> None:
    frame = frame_of(np.array([targets, [0, 1, 0]]).T, np.zeros((3, 2)))
    scored, *_ = score_predictions(frame, fitted(drawn_frame(4, 200)), ScoreOptions(resamples=5))
    assert np.isnan(scored.point[0, 0, :-1]).all() and np.isnan(scored.drawn[:, 0, 0, :-1]).all()
    assert scored.point[0, 2, 0] == scored.point[0, 1, 0] == 0.5
    assert "auroc" not in document([scored], "AB")["scores"]["A"]


def test_without_a_calibration_there_are_no_decisions() -> None:
    scored, *_ = score_predictions(drawn_frame(3, 60), None, ScoreOptions(resamples=5))
    lacking = [
        SCORES.index(name) for name in ("sensitivity", "specificity", "f1", "brier_calibrated", "ece_calibrated")
    ]
    assert np.isnan(scored.point[..., lacking]).all() and np.isnan(scored.drawn[..., lacking]).all()
    assert not np.isnan(np.delete(scored.point, lacking, axis=-1)).any()


def test_the_calibration_error_of_a_worked_example() -> None:
    """Two images at 0.1 with one positive, two at 0.9 with both: |0.5 - 0.1| and |1 - 0.9| by halves."""
    targets, probabilities = np.array([0, 1, 1, 1], np.uint8), np.array([0.1, 0.1, 0.9, 0.9])
    none = np.zeros(4, np.int64)
    ranked = Ranked.of(targets, probabilities, (probabilities, probabilities), 0.5, none, none)
    ((found,),) = resample(ranked, np.ones((1, 1), np.uint16), 1)
    assert found[SCORES.index("ece")] == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_groups_by_attribute_and_by_pairs() -> None:
    ages = pd.array([17, 18, 39, 40, 80, 99, None, 5], dtype="Int16")
    sexes = ["F", "M", "F", "M", "", "F", "M", "F"]
    frame = drawn_frame(0, 8, sex=sexes, age=ages, view=["frontal"] * 8)
    whole, sex, age, both = partitions(frame)
    assert (whole.by, whole.numbers.tolist()) == ((), [0] * 8)
    assert (sex.names, sex.numbers.tolist()) == (("F", "M"), [0, 1, 0, 1, -1, 0, 1, 0])
    assert age.names == ("0-17", "18-39", "40-59", "80+") and age.numbers.tolist() == [0, 1, 1, 2, 3, 3, -1, 0]
    assert both.names == ("F, 0-17", "F, 18-39", "F, 80+", "M, 18-39", "M, 40-59")
    assert both.numbers.tolist() == [0, 3, 1, 4, -1, 2, -1, 0]
    assert partitions(frame, ["view"])[1].names == ("frontal",)
    with pytest.raises(InputError, match=r"--by sx: the predictions have no such attribute; did you mean sex\?"):
        partitions(frame, ["sx"])


def test_a_planted_gap_is_found_and_small_groups_are_named() -> None:
    sexes = np.array(["F", "M"])[np.arange(800) // 2 % 2]
    sites = np.where(np.arange(800) < 30, "tiny", "large")
    frame = drawn_frame(1, 800, shift=np.where(sexes == "F", 1.2, 0.0), sex=sexes, site=sites)
    whole, sex, site, _ = score_predictions(frame, fitted(drawn_frame(2, 400)), ScoreOptions(resamples=200))
    for score in ("auroc", "sensitivity"):
        for label in (0, 1, None):
            found = gap(sex, score, label)
            assert found is not None and (found.highest, found.lowest) == ("M", "F") and found.low > 0
    values = document([whole, sex, site], "AB")
    assert {(item["by"][0], item["label"]) for item in values["gaps"]} == {("sex", name) for name in ("A", "B", MEAN)}
    (tiny,) = (group for group in values["groups"] if group["group"] == "tiny")
    assert tiny["too_small"] == ["A", "B"] and set(tiny["scores"]["A"]) == {"prevalence", "positives", "negatives"}
    assert gap(site, "auroc", 0) is None
    assert [part.tolist() for part in comparable(sex)] == [[True, True], [True, True]]


def test_without_a_gap_the_interval_holds_zero_in_95_of_100_draws() -> None:
    """Of two groups, and of five, where the largest of ten differences is looked at."""
    held = {"sex": 0, "site": 0}
    calibration = fitted(drawn_frame(0, 400))
    for seed in range(100):
        rng = np.random.default_rng(seed)
        sexes, sites = (np.repeat(rng.choice(values, 150), 2) for values in (["F", "M"], list("VWXYZ")))
        frame = drawn_frame(1000 + seed, 300, sex=sexes, site=sites)
        options = ScoreOptions(resamples=100, min_count=5)
        for part in score_predictions(frame, calibration, options)[1:3]:
            found = gap(part, "auroc", 0)
            assert found is not None
            held[part.partition.title] += found.low <= 0 <= found.high
    # Of 100 with a chance of 0.95 each, fewer than 88 hold once in 400 times; by 200 fixed seeds this is no lottery.
    assert held["sex"] >= 88 and held["site"] >= 88


def test_a_test_set_of_thousands_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    frame = drawn_frame(
        1, 4000, sex=rng.choice(["F", "M"], 4000), age=pd.array(rng.integers(0, 95, 4000), dtype="Int16")
    )
    calibration = fitted(drawn_frame(2, 400))
    began = time.process_time()
    score_predictions(frame, calibration, ScoreOptions(resamples=500))
    assert time.process_time() - began < 5.0
