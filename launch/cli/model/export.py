"""``cxr export``: write a finished run's model for use without this program."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's best weights for others: model card, safetensors, label names, preprocessing, ONNX.

    OUT holds README.md (the model card), model.safetensors, labels.json, preprocessing.json, config.json,
    calibration.json (temperatures and thresholds by label) and model.onnx, whose probabilities are compared with
    torch's before anything is left there. It takes gray pages of any batch size. OUT appears whole or not at all; an
    earlier export there is replaced.

    For example:
        cxr export runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --out model
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder, or its id (or a part that no other has) below RUNS_DIR."""
    out: Path
    """Folder to write."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    beton: Path | None = None
    """The run's beton, if it lies elsewhere now; its sidecar says how the images were made."""
    onnx: bool = True
    """Also write model.onnx."""

    def run(self) -> None:
        from harness.export.export import export_run
        from launch.plan.run_argument import find_run_folder
        from launch.report.write.documents import model_card

        folder = find_run_folder(self.run_folder, self.runs_dir)
        try:
            exported = export_run(folder, self.out, beton=self.beton, onnx=self.onnx, write_card=model_card)
        except ArithmeticError as error:
            logger.error("%s", error)
            sys.exit(1)
        check = exported.onnx
        if check is not None:
            logger.info(
                "model.onnx: on %d random and %d test images, probabilities differ from torch's by at most %.1e",
                check.random_images,
                check.real_images,
                check.max_difference,
            )
        if exported.sidecar is None:
            logger.info("the run's beton is not here, so the card lacks its splits")
        if exported.calibration is None:
            logger.info("the run has no calibration, which 'cxr evaluate RUN --write' makes; the export lacks it too")
        for path in sorted(self.out.iterdir()):
            print(path)
