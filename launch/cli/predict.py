"""``cxr predict``: print a trained model's probabilities for image files."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from harness.runs.runtime import Precision

if TYPE_CHECKING:
    from harness.export.predict import Prediction

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
    batch_size: int = 32
    """Images of one forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA when there is one."""
    precision: Precision | None = None
    """Arithmetic of the network; default: that of the run."""
    workers: int | None = None
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
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers} must be at least 1")
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
        predictions = predict_images(model, files, runtime, batch_size=self.batch_size)
        bad = self._print(model.labels, predictions)
        if bad:
            raise InputError(f"{bad} of {len(files)} images could not be used; each is named above with its reason")

    def _print(self, labels: tuple[str, ...], predictions: Iterable[Prediction]) -> int:
        """Print what there is in the chosen form; return how many images have no prediction."""
        from datasets.errors import one_line

        writer, rows, bad = csv.writer(sys.stdout, lineterminator="\n"), [], 0
        if self.csv:
            writer.writerow(["path", *labels])
        for prediction in predictions:
            path, values = str(prediction.path), prediction.probabilities
            if values is None:
                bad += 1
                logger.info("%s: %s", one_line(path), prediction.reason)
            elif self.csv:  # row by row, so that a folder of a hundred thousand images fills no memory
                writer.writerow([path, *values])
            else:
                rows.append((path, values))
        if self.json:
            objects = [{"path": path, **dict(zip(labels, values, strict=True))} for path, values in rows]
            print(json.dumps(objects, indent=2, allow_nan=False))
        elif not self.csv:
            _print_table(labels, rows)
        return bad


def _print_table(labels: tuple[str, ...], rows: list[tuple[str, tuple[float, ...]]]) -> None:
    """Labels down, images across, as many images side by side as 80 columns or the terminal hold."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from launch.terminal import print_whole

    across = max(1, (Console().width - max(map(len, labels)) - 4) // 19)
    for start in range(0, len(rows), across):
        table = Table("probability of")
        for path, _ in rows[start : start + across]:
            table.add_column(Text(Path(path).name), justify="right", overflow="fold", max_width=16)
        for place, label in enumerate(labels):
            table.add_row(Text(label), *(f"{values[place]:.4f}" for _, values in rows[start : start + across]))
        print_whole(table)
