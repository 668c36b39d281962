"""Calibration: a planted temperature is found, and thresholds are scikit-learn's own operating points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve, recall_score, roc_curve

from datasets.errors import InputError
from datasets.files import write_json
from harness.evaluation.calibration import MAX_TEMPERATURE, RULES, Calibration

HASHES = {"content_hash": "sha256:beef", "weights_hash": "cafe"}


def fit(logits: list[float] | np.ndarray, targets: list[int] | np.ndarray, **wanted: float) -> Calibration:
    """Of one label, A."""
    column = np.asarray(logits, dtype=np.float32)[:, None]
    return Calibration.fit(column, np.asarray(targets, dtype=np.uint8)[:, None], ["A"], **HASHES, **wanted)


def thresholds_of(calibration: Calibration) -> list[float | None]:
    return [calibration.labels["A"].thresholds[rule] for rule in RULES]


def test_a_planted_temperature_is_found_by_label() -> None:
    """Targets are drawn from sigmoid(true logit); the network says its logits times T."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (40_000, 3))
    targets = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.uint8)
    planted = np.array([0.5, 1.0, 4.0])
    logits = (true * planted).astype(np.float32)
    targets[::7, 1] = 255
    found = Calibration.fit(logits, targets, ["A", "B", "C"], **HASHES)
    temperatures = np.array([label.temperature for label in found.labels.values()], dtype=float)
    assert np.abs(temperatures / planted - 1).max() < 0.03
    # The law of scaling holds far beyond the noise of the draw.
    doubled = Calibration.fit(2 * logits, targets, ["A", "B", "C"], **HASHES)
    again = np.array([label.temperature for label in doubled.labels.values()], dtype=float)
    assert again == pytest.approx(2 * temperatures, rel=1e-4)
    assert found.probabilities(logits) == pytest.approx(doubled.probabilities(2 * logits), abs=1e-4)
    expected = 1 / (1 + np.exp(-logits[:5] / temperatures))
    assert found.probabilities(logits[:5]) == pytest.approx(expected, abs=1e-12)


def test_thresholds_worked_out_by_hand_with_ties() -> None:
    """Ten positives, ten negatives; one positive and two negatives share the logit 1."""
    positives = [5, 4, 3, 3, 2, 2, 2, 1, 0, -9]
    negatives = [4, 1, 1, -1, -1, -2, -2, -3, -4, -5]
    found = fit([*positives, *negatives], [1] * 10 + [0] * 10)
    label = found.labels["A"]
    # At 2: 7 of 10 and 9 of 10. At 1: 8 and 7. At 0: 9 and 7, which is as large a sum and so comes after 2.
    assert label.thresholds == {"youden": 2.0, "sensitivity": 0.0, "specificity": 2.0, "f1": 0.0}
    assert label.sensitivities == {"youden": 0.7, "sensitivity": 0.9, "specificity": 0.7, "f1": 0.9}
    assert label.specificities == {"youden": 0.9, "sensitivity": 0.7, "specificity": 0.9, "f1": 0.7}
    stricter = fit([*positives, *negatives], [1] * 10 + [0] * 10, sensitivity=1.0, specificity=1.0).labels["A"]
    assert (stricter.thresholds["sensitivity"], stricter.thresholds["specificity"]) == (-9.0, 5.0)


def test_a_specificity_that_only_no_positive_reaches() -> None:
    found = fit([1, 1, 0, 0], [1, 0, 1, 0]).labels["A"]
    assert found.thresholds["specificity"] == float(np.nextafter(np.float32(1), np.float32(2)))
    assert (found.sensitivities["specificity"], found.specificities["specificity"]) == (0.0, 1.0)


@pytest.mark.parametrize("targets", [[1, 1, 1, 255], [0, 0, 0, 0], [255, 255, 255, 255]])
def test_one_class_or_nothing_known_gives_none(targets: list[int]) -> None:
    found = fit([0.5, 0.1, 2.0, 3.0], targets)
    assert found.labels["A"].temperature is None
    assert thresholds_of(found) == [None] * 4
    assert np.isnan(found.decisions(np.zeros((2, 1)), "youden")).all()
    assert np.isnan(found.probabilities(np.zeros((2, 1)))).all()


def test_separated_and_contrary_logits_have_the_outermost_temperatures() -> None:
    separated, contrary = fit([-1, 0.5, 1], [0, 1, 1]), fit([-1, 0.5, 1], [1, 0, 0])
    assert separated.labels["A"].temperature == pytest.approx(1 / MAX_TEMPERATURE, rel=0.2)
    assert contrary.labels["A"].temperature == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


pairs = st.lists(st.tuples(st.integers(-4, 4), st.sampled_from([0, 1, 1, 0, 255])), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_thresholds_are_those_of_scikit_learn_on_ties(drawn: list[tuple[int, int]]) -> None:
    logits, targets = (np.array(values) for values in zip(*drawn, strict=True))
    found = fit(logits / 4, targets)
    known = targets != 255
    scores, truth = logits[known] / 4, targets[known]
    if len(set(truth)) < 2:
        assert thresholds_of(found) == [None] * 4
        return
    decided = {rule: found.decisions(scores[:, None], rule)[:, 0] for rule in RULES}
    false, true, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    label = found.labels["A"]
    for rule in RULES:
        assert label.sensitivities[rule] == recall_score(truth, decided[rule])
        assert label.specificities[rule] == recall_score(truth, decided[rule], pos_label=0)
    assert recall_score(truth, decided["youden"]) + recall_score(truth, decided["youden"], pos_label=0) - 1 == (
        pytest.approx((true - false).max(), abs=1e-12)
    )
    assert label.thresholds["sensitivity"] == thresholds[true >= 0.9][0]
    kept = thresholds[1 - false >= 0.9 - 1e-12][-1]
    highest = float(np.nextafter(np.float32(scores.max()), np.float32(np.inf)))
    assert label.thresholds["specificity"] == (highest if np.isinf(kept) else kept)
    precision, recall, _ = precision_recall_curve(truth, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    assert f1_score(truth, decided["f1"]) == pytest.approx(best, abs=1e-12)


def test_a_file_is_read_as_it_was_written_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert Calibration.read(path) is None
    found = fit([1, 0.3, 0.2, -1], [1, 0, 1, 0])
    write_json(path, found.to_dict())
    assert Calibration.read(path) == found
    wrong = ("temperature", -1.0, "must be above 0"), ("thresholds", {}, "expected one for each of youden")
    for key, value, message in wrong:
        values = found.to_dict()
        values["labels"]["A"][key] = value
        write_json(path, values)
        with pytest.raises(InputError, match=rf"calibration\.json: labels\.A: .*{message}"):
            Calibration.read(path)
    write_json(path, {"labels": {}})
    with pytest.raises(InputError, match=r"calibration\.json: sensitivity: Field required"):
        Calibration.read(path)
    with pytest.raises(InputError, match=r"specificity = 1\.5 must be above 0 and at most 1"):
        fit([0, 1], [0, 1], specificity=1.5)
