"""The paired bootstrap: over patients, on the same resamples for both methods, and only of one test split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import student, write_run
from sklearn.metrics import roc_auc_score

from launch.report.read.collect import collect
from launch.report.statistics import bootstrap as bootstrap_module
from launch.report.statistics.bootstrap import Bootstrap, paired_intervals, resample


def predictions(
    *, seed: int = 0, logits_seed: int = 0, num_images: int = 60, num_patients: int = 20, num_labels: int = 3
) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    targets = (generator.random((num_images, num_labels)) < 0.3).astype(np.uint8)
    targets[0], targets[1] = 1, 0
    patients = [f"p{number:03d}" for number in generator.integers(0, num_patients, num_images)]
    noise = np.random.default_rng((seed, logits_seed)).normal(size=targets.shape)
    logits = np.round(noise + targets, 1).astype(np.float32)
    columns = {f"target:label {i}": targets[:, i] for i in range(num_labels)}
    columns |= {f"logit:label {i}": logits[:, i] for i in range(num_labels)}
    return pd.DataFrame({"index": np.arange(num_images), "patient": patients, **columns})


def array(frame: pd.DataFrame, prefix: str) -> np.ndarray:
    return frame.filter(regex=f"^{prefix}:").to_numpy()


def drawn_images(found: pd.DataFrame, *, count: int, seed: int) -> list[np.ndarray]:
    """The images of each resample, drawn patient by patient."""
    names = np.unique(found.patient.to_numpy())
    chosen = np.random.default_rng((seed, len(names))).integers(0, len(names), (count, len(names)))
    return [
        np.concatenate([np.flatnonzero(found.patient.to_numpy() == names[number]) for number in row])
        for row in chosen
    ]


def test_every_resample_is_scikit_learns_auroc_of_the_drawn_patients_images() -> None:
    found = predictions()
    targets, logits = array(found, "target"), array(found, "logit")
    result = resample(found, count=50, seed=3)
    assert (result.num_images, result.num_patients) == (60, len(np.unique(found.patient.to_numpy())))
    assert result.positives.tolist() == targets.sum(axis=0).tolist()
    checked = 0
    for row, images in zip(result.drawn, drawn_images(found, count=50, seed=3), strict=True):
        for i in range(3):
            if 0 < targets[images, i].sum() < len(images):
                expected = roc_auc_score(targets[images, i], logits[images, i])
                assert row[i] == pytest.approx(expected, abs=1e-12)
                checked += 1
            else:
                assert np.isnan(row[i])
    assert checked > 100
    for i in range(3):
        assert result.point[i] == pytest.approx(roc_auc_score(targets[:, i], logits[:, i]), abs=1e-12)


@given(seed=st.integers(0, 10_000), repetitions=st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_equal_predictions_differ_by_exactly_nothing(seed: int, repetitions: int) -> None:
    runs = [resample(predictions(seed=seed, logits_seed=i), count=40, seed=seed) for i in range(repetitions)]
    for interval in paired_intervals(runs, list(runs)):
        assert (interval.difference, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_the_interval_is_the_percentiles_of_the_differences_of_the_means_over_repetitions() -> None:
    base = [resample(predictions(logits_seed=i), count=200, seed=0) for i in (1, 2)]
    other = [resample(predictions(logits_seed=i), count=200, seed=0) for i in (3, 4, 5)]
    intervals = paired_intervals(base, other)
    assert len(intervals) == 4
    differences = np.mean([run.drawn for run in other], axis=0) - np.mean([run.drawn for run in base], axis=0)
    points = np.mean([run.point for run in other], axis=0) - np.mean([run.point for run in base], axis=0)
    for i, interval in enumerate(intervals[:3]):
        assert interval.difference == pytest.approx(points[i], abs=1e-12)
        expected = np.nanpercentile(differences[:, i], [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert intervals[3].difference == pytest.approx(points.mean(), abs=1e-12)
    swapped = paired_intervals(other, base)
    assert [-interval.difference for interval in swapped] == [interval.difference for interval in intervals]


def test_a_label_with_one_class_has_no_difference_and_leaves_the_mean() -> None:
    found = predictions()
    runs = [resample(found.assign(**{"target:label 1": np.uint8(0)}), count=30, seed=0)]
    intervals = paired_intervals(runs, runs)
    assert np.isnan([intervals[1].difference, intervals[1].low]).all()
    assert intervals[1].usable == 0
    assert intervals[3].base == pytest.approx((intervals[0].base + intervals[2].base) / 2)


def test_runs_of_different_test_splits_are_not_paired() -> None:
    one, other = (resample(predictions(seed=seed), count=10, seed=0) for seed in (0, 1))
    with pytest.raises(ValueError, match="one test split"):
        paired_intervals([one], [other])


def test_fewer_resamples_are_the_first_of_more() -> None:
    """100 of them are worked on in two blocks, 7 in a part of one."""
    whole, part = (resample(predictions(), count=count, seed=0) for count in (100, 7))
    np.testing.assert_array_equal(whole.drawn[:7], part.drawn)


def test_kept_results_are_used_until_the_predictions_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "runs", student(), 0.7)
    (run,) = collect(tmp_path / "runs").runs
    calls = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return resample(*arguments, **options)

    monkeypatch.setattr(bootstrap_module, "resample", counted)
    bootstrap = Bootstrap(25, 0, tmp_path / "kept")
    first = bootstrap.of(run)
    again = bootstrap.of(run)
    assert len(calls) == 1
    assert (again.labels, again.test_set, again.num_patients) == (first.labels, first.test_set, first.num_patients)
    np.testing.assert_array_equal(again.drawn, first.drawn)
    np.testing.assert_array_equal(again.point, first.point)
    Bootstrap(26, 0, tmp_path / "kept").of(run)
    Bootstrap(26, 1, tmp_path / "kept").of(run)
    assert len(calls) == 3
    bootstrap.of(run)
    stat = (folder / "predictions.parquet").stat()
    os.utime(folder / "predictions.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    bootstrap.of(run)
    assert len(calls) == 5
    for damage in (b"", b"PK\x03\x04 torn", b"\x93NUMPY"):
        (tmp_path / "kept" / f"{run.run_id}.npz").write_bytes(damage)
        np.testing.assert_array_equal(bootstrap.of(run).drawn, first.drawn)
    assert len(calls) == 8
