"""Score a finished run's predictions, and keep the scores in its folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datasets.errors import InputError
from datasets.files import read_json_object, write_json
from harness.evaluation.calibration import Calibration
from harness.evaluation.predictions_file import labels_of, read_predictions
from harness.runs.folder import RunFolder
from harness.scoring.bootstrap import percentile_intervals
from harness.scoring.clinical import GAP_SCORES, MEAN, Scored, ScoreOptions, gap, score_predictions
from harness.scoring.groups import attributes_of
from harness.scoring.resampling import SCORES

VERSION = 1
"""Raised when the numbers of equal predictions change."""
HOW_TO_WRITE = "cxr evaluate RUN --write adds it"


def run_scores(folder: RunFolder, split: Literal["validation", "test"], options: ScoreOptions) -> dict[str, Any]:
    """The scores of a run on one split with what they rest on; computed once and kept until one of its files changes.

    Returns:
        run_id, split, key, options, num_patients, lacking (what the run's files do not allow, and what mends it), and
        what ``document`` says.

    Raises:
        InputError: when there are no predictions, or the files of the run cannot be used.
    """
    path = folder.predictions()[split]
    if not path.exists():
        mend = "train it to its end" if split == "test" else HOW_TO_WRITE
        raise InputError(f"{folder.path}: no {path.name}; {mend}")
    key, out = _key((path, folder.calibration_file), options), folder.scores_file(split)
    kept = _kept(out)
    if kept.get("key") == key:
        return kept
    frame, calibration = read_predictions(path), Calibration.read(folder.calibration_file)
    found = score_predictions(frame, calibration, options)
    needs = {
        "decisions and calibrated probabilities: there is no calibration.json": calibration is not None,
        f"groups: {path.name} has no attributes of the images": bool(attributes_of(frame)),
    }
    result = {
        "run_id": folder.config().run_id,
        "split": split,
        "key": key,
        "options": asdict(options),
        "num_patients": int(frame["patient"].nunique()),
        "lacking": [f"{text}; {HOW_TO_WRITE}" for text, there in needs.items() if not there],
        **document(found, labels_of(frame)),
    }
    write_json(out, result)
    return result


def document(found: Sequence[Scored], labels: Sequence[str]) -> dict[str, Any]:
    """Plain JSON values: scores with intervals of all images and of each group, and the gaps between groups."""
    whole, *parts = found
    return {
        "labels": list(labels),
        "num_images": int(whole.num_images[0]),
        "scores": _group_values(whole, 0, labels, percentile_intervals(whole.drawn)),
        "groups": [
            {
                "by": list(part.partition.by),
                "group": name,
                "num_images": int(part.num_images[number]),
                "too_small": [label for label, large in zip(labels, part.large[number], strict=True) if not large],
                "scores": _group_values(part, number, labels, ends),
            }
            for part, ends in ((part, percentile_intervals(part.drawn)) for part in parts)
            for number, name in enumerate(part.partition.names)
        ],
        "gaps": [
            {"by": list(part.partition.by), "label": name, "score": score, **found_gap._asdict()}
            for part in parts
            for score in GAP_SCORES
            for name, number in [*((label, place) for place, label in enumerate(labels)), (MEAN, None)]
            if (found_gap := gap(part, score, number)) is not None
        ],
    }


def _group_values(scored: Scored, group: int, labels: Sequence[str], ends: np.ndarray) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, label in enumerate((*labels, MEAN)):
        values[label] = {
            score: {"value": _plain(scored.point[group, number, k]), "interval": _ends(ends[group, number, k])}
            for k, score in enumerate(SCORES)
            if not math.isnan(scored.point[group, number, k])
        }
        if label != MEAN:
            values[label]["positives"] = int(scored.positives[group, number])
            values[label]["negatives"] = int(scored.negatives[group, number])
    return values


def _plain(value: float) -> float:
    return round(float(value), 6)


def _ends(pair: np.ndarray) -> list[float] | None:
    return None if np.isnan(pair).any() else [_plain(value) for value in pair]


def _key(paths: Sequence[Path], options: ScoreOptions) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, asdict(options)], sort_keys=True).encode())
    for path in paths:
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()


def _kept(path: Path) -> dict[str, Any]:
    """What the file says; nothing where it is absent or damaged, for it is computed anew then."""
    try:
        return read_json_object(path) if path.exists() else {}
    except InputError:
        return {}
