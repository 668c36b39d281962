"""``cxr evaluate``: score a run's best checkpoint on a split."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from datasets.errors import InputError
from datasets.sources.registry import share_images
from harness.runs.runtime import Precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score the best checkpoint of a run on a split of its beton, or of another one with the same labels.

    ``--on NAME`` scores it on another dataset, over the labels that both have by name, and keeps the scores in the
    run's folder, from where the report takes them.

    For example:
        cxr evaluate runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --split test
        cxr evaluate runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --on chestxray14 --data-dir data
    """

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    split: Literal["train", "validation", "test"] = "test"
    """Images to score; train is the run's own training subset."""
    on: str | None = None
    """Another dataset to score on: NAME.beton in DATA_DIR."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton."""
    beton: Path | None = None
    """The beton to score on, instead of the one in DATA_DIR."""
    precision: Precision | None = None
    """Arithmetic of the network; default: that of the run where this machine can compute in it, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; default: the cores this process may use."""
    tier: Literal["auto", "raw", "jpeg", "resident"] = "auto"
    """Where images come from: streamed from the beton, or held in the device's memory; auto goes by what fits."""
    num_threads: int | None = None
    """torch threads on the CPU; default: the cores this process may use."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        from harness.devices.precision import own_precision
        from harness.evaluation.evaluate import evaluate_run
        from harness.runs.folder import RunFolder
        from harness.runs.runtime import RuntimeConfig

        if self.on is not None and self.beton is not None:
            raise InputError("give either --on or --beton: --on takes NAME.beton in --data-dir")
        folder = RunFolder(self.folder)
        if self.on is not None:
            _warn_of_relation(folder.config().data.dataset, self.on)
        recorded = str(folder.provenance().get("precision", "fp32"))
        runtime = RuntimeConfig(
            data_dir=self.data_dir,
            beton=self.beton,
            precision=self.precision or own_precision(recorded, self.device),
            device=self.device,
            num_workers=self.num_workers,
            tier=self.tier,
            num_threads=self.num_threads,
        )
        result = evaluate_run(folder, self.split, runtime, dataset=self.on)
        print(json.dumps(result, indent=2) if self.json else _table(result))


def _warn_of_relation(trained_on: str, scored_on: str) -> None:
    """Warn where one dataset is a part of the other, or both of a third: images of the training may be scored."""
    if share_images(trained_on, scored_on):
        logger.warning(
            "%s and %s hold the same images: some that the run was trained on may be among those scored, unless both "
            "were split by one manifest",
            *(trained_on, scored_on),
        )


def _table(result: dict[str, Any]) -> str:
    width = max(map(len, [*result["auroc"], "mean of the defined"]))
    rows = [*result["auroc"].items(), ("mean of the defined", result["mean_auroc"])]
    lines = [f"{result['run_id']}: {result['dataset']} {result['split']}, {result['num_samples']:,} images"]
    lines += [f"  {label:<{width}}  {'undefined' if value is None else f'{value:.4f}'}" for label, value in rows]
    if result.get("left_out"):
        lines.append(f"  not in {result['dataset']}, left out: {', '.join(result['left_out'])}")
    if result["undefined_labels"]:
        lines.append(f"  one class only, left out of the mean: {', '.join(result['undefined_labels'])}")
    return "\n".join(lines)
