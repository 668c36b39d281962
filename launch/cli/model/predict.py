"""``cxr predict``: print a trained model's probabilities for image files."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from harness.runs.runtime import Precision
from launch.ranges import Count

if TYPE_CHECKING:
    from harness.export.predict import Decider, Prediction
    from harness.export.saved_model import SavedModel

logger = logging.getLogger(__name__)
SHOWN = 5
"""Files that are named when some were passed over."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Give a model's probabilities for PNG, JPEG and DICOM files, read just as its training images were.

    RUN is a run's folder or id, or a folder that 'cxr export' wrote. A folder among the images stands for all images
    below it. A file that cannot be used is named on standard error, the others are predicted, and the exit status is
    2. The probabilities are not for patients: see the model's card.

    For example:
        cxr predict runs/demo/teacher image.png scan.dcm --json
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder or an exported folder, or a run's id (or a part that no other has) below RUNS_DIR."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")] = ()
    """Image files, or folders of them."""
    json: bool = False
    """Print a list of objects alone: path, and one probability for each label name."""
    csv: bool = False
    """Print CSV: path, then one column for each label."""
    calibrated: bool = False
    """Give probabilities calibrated on the run's validation split, and beside each whether the label is positive."""
    rule: Literal["youden", "sensitivity", "specificity", "f1"] | None = None
    """With --calibrated: how thresholds were chosen on validation: largest sensitivity + specificity (the default),
    kept sensitivity, kept specificity (0.9 unless the run's calibration says otherwise), or largest F1."""
    batch_size: Count = 32
    """Images of one forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA when there is one."""
    precision: Precision | None = None
    """Arithmetic of the network; default: that of the run."""
    workers: Count | None = None
    """Processes that decode; default: the cores this process may use."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    beton: Path | None = None
    """The run's beton, if it lies elsewhere now; its sidecar says how images are prepared."""

    def run(self) -> None:
        from datasets.errors import InputError, one_line
        from launch.plan.run_argument import find_run_folder

        if self.json and self.csv:
            raise InputError("--json and --csv: choose one")
        if self.rule is not None and not self.calibrated:
            raise InputError("--rule chooses among the thresholds of --calibrated; give both")
        if not self.images:
            raise InputError("no IMAGE given; give image files, or folders of them")
        folder = find_run_folder(self.run_folder, self.runs_dir)
        from harness.devices.precision import own_precision
        from harness.export.predict import image_files, predict_images
        from harness.export.saved_model import open_model
        from harness.runs.runtime import RuntimeConfig

        files, passed = image_files(self.images)
        if passed:
            some = ", ".join(one_line(path) for path in passed[:SHOWN]) + (", ..." if len(passed) > SHOWN else "")
            logger.info("passed over %s files that are no PNG, JPEG or DICOM: %s", len(passed), some)
        model = open_model(folder, beton=self.beton)
        if not model.preprocessing.is_current:
            logger.info("the model's images were decoded by another version; pixels may differ")
        precision = self.precision or own_precision(model.precision, self.device)
        runtime = RuntimeConfig(device=self.device, precision=precision, num_workers=self.workers)
        decider = self._decider(model) if self.calibrated else None
        predictions = predict_images(model, files, runtime, batch_size=self.batch_size, decider=decider)
        bad = self._print(model.labels, predictions)
        if bad:
            raise InputError(f"{bad} of {len(files)} images could not be used; each is named above with its reason")

    def _decider(self, model: SavedModel) -> Decider:
        from datasets.errors import InputError
        from harness.export.predict import Decider
        from harness.export.saved_model import CALIBRATE, open_calibration

        calibration = open_calibration(model)
        if calibration is None:
            raise InputError(f"{model.path}: --calibrated: the model has no calibration.json; {CALIBRATE}")
        lacking = [name for name, label in calibration.labels.items() if label.temperature is None]
        if lacking:
            logger.info("one class only in validation, so neither calibrated nor decided: %s", ", ".join(lacking))
        return Decider(calibration=calibration, rule=self.rule or "youden")

    def _print(self, labels: tuple[str, ...], predictions: Iterable[Prediction]) -> int:
        """Print what there is in the chosen form; return how many images have no prediction."""
        from datasets.errors import one_line

        writer, bad = csv.writer(sys.stdout, lineterminator="\n"), 0
        rows: list[Prediction] = []
        if self.csv:
            heads = [(label, f"{label} positive") if self.calibrated else (label,) for label in labels]
            writer.writerow(["path", *chain(*heads)])
        for prediction in predictions:
            if prediction.probabilities is None:
                bad += 1
                logger.info("%s: %s", one_line(prediction.path), prediction.reason)
            elif self.csv:  # row by row, so that a folder of a hundred thousand images fills no memory
                writer.writerow([prediction.path, *chain(*_answers(prediction))])
            else:
                rows.append(prediction)
        if self.json:
            print(json.dumps([_object(labels, prediction) for prediction in rows], indent=2, allow_nan=False))
        elif not self.csv:
            _print_table(labels, rows)
        return bad


def _answers(prediction: Prediction) -> list[tuple[float | int | None, ...]]:
    """For each label its probability and, where there are decisions, 1 for positive and 0 for negative."""
    values, decisions = prediction.probabilities or (), prediction.decisions
    if decisions is None:
        return [(value,) for value in values]
    return [
        (value, None if decision is None else int(decision))
        for value, decision in zip(values, decisions, strict=True)
    ]


def _object(labels: tuple[str, ...], prediction: Prediction) -> dict[str, Any]:
    """One image for --json: a probability for each label, or an object of it and of whether the label is positive."""
    values: Iterable[Any] = prediction.probabilities or ()
    if prediction.decisions is not None:
        pairs = zip(values, prediction.decisions, strict=True)
        values = [{"probability": value, "positive": decision} for value, decision in pairs]
    return {"path": str(prediction.path), **dict(zip(labels, values, strict=True))}


def _cell(value: float | None, decision: int | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + ("" if decision is None else " positive" if decision else " negative")


def _print_table(labels: tuple[str, ...], rows: Sequence[Prediction]) -> None:
    """Labels down, images across, as many images side by side as 80 columns or the terminal hold."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from launch.terminal import print_whole

    across = max(1, (Console().width - max(map(len, labels)) - 4) // 19)
    for start in range(0, len(rows), across):
        shown = rows[start : start + across]
        table = Table("probability of")
        for prediction in shown:
            table.add_column(Text(prediction.path.name), justify="right", overflow="fold", max_width=16)
        for label, *cells in zip(labels, *map(_answers, shown), strict=True):
            table.add_row(Text(label), *(_cell(*cell) for cell in cells))
        print_whole(table)
