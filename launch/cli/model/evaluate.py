"""``cxr evaluate``: score a run's best checkpoint on a split."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from datasets.errors import InputError
from harness.runs.runtime import Precision
from launch.ranges import Share

if TYPE_CHECKING:
    from harness.runs.folder import RunFolder
    from harness.runs.runtime import RuntimeConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score the best checkpoint of a run on a split of its beton, or of another one with the same labels.

    ``--on NAME`` scores it on another dataset, over the labels that both have by name, and keeps the scores in the
    run's folder, from where the report takes them.

    A split with patients whom the run, its initial weights, its teacher or its beta search was trained on is refused,
    but for the run's own training images, asked for as --split train.

    ``--write`` scores nothing: it adds to a run that older code trained what a run leaves today for scores, decisions
    and groups, as the predictions of its validation split and calibration.json, which ``--sensitivity`` and
    ``--specificity`` fit anew.

    For example:
        cxr evaluate runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --split test
        cxr evaluate runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --on chestxray14 --data-dir data
        cxr evaluate runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --write --data-dir data
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
    force_seen: bool = False
    """Score even patients whom the weights were trained on; the result says so."""
    write: bool = False
    """Write what is lacking of the run's predictions and calibration, and name the files."""
    sensitivity: Share | None = None
    """With --write: the sensitivity that the rule of this name keeps on validation; default 0.9."""
    specificity: Share | None = None
    """With --write: the specificity that the rule of this name keeps on validation; default 0.9."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        from harness.devices.precision import own_precision
        from harness.evaluation.evaluate import evaluate_run
        from harness.runs.folder import RunFolder
        from harness.runs.runtime import RuntimeConfig

        if self.on is not None and self.beton is not None:
            raise InputError("give either --on or --beton: --on takes NAME.beton in --data-dir")
        self._check_write()
        folder = RunFolder(self.folder)
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
        if self.write:
            self._write(folder, runtime)
            return
        seen = self._seen(folder, runtime.beton_for(self.on or folder.config().data.dataset))
        result = evaluate_run(folder, self.split, runtime, dataset=self.on, seen=seen)
        print(json.dumps(result, indent=2) if self.json else _table(result))

    def _check_write(self) -> None:
        if self.write and (self.on is not None or self.split != "test"):
            raise InputError("--write is of the run's own validation and test splits; leave out --on and --split")
        if not self.write and (self.sensitivity, self.specificity) != (None, None):
            raise InputError("--sensitivity and --specificity are fitted with --write")

    def _write(self, folder: RunFolder, runtime: RuntimeConfig) -> None:
        from harness.evaluation.complete import complete_run

        given = {"sensitivity": self.sensitivity, "specificity": self.specificity}
        wanted = {name: value for name, value in given.items() if value is not None}
        names = [path.name for path in complete_run(folder, runtime, **wanted)]
        if self.json:
            print(json.dumps({"folder": str(folder.path), "written": names}, indent=2))
        else:
            print(f"{folder.path}: " + (f"wrote {', '.join(names)}" if names else "nothing was lacking"))

    def _seen(self, folder: RunFolder, beton: Path) -> tuple[str, ...]:
        """What the weights have seen of the split, refused unless forced; a warning where it is not known."""
        from datasets.beton.mixed import open_beton
        from launch.lineage.patients import exposure

        if self.split == "train" and self.on is None:
            return ()
        seen, unknown = exposure(folder, open_beton(beton), self.split, self.data_dir)
        for source in unknown:
            logger.warning(
                "%s: it holds the same images as %s, of which some may be among those scored, unless both were split "
                "by one manifest",
                *(source, beton.name),
            )
        if seen and not self.force_seen:
            raise InputError(
                f"{folder.path}: its weights have seen what is to be scored ({'; '.join(seen)}); score it on others, "
                "or give --force-seen, and the result says so"
            )
        return seen


def _table(result: dict[str, Any]) -> str:
    width = max(map(len, [*result["auroc"], "mean of the defined"]))
    rows = [*result["auroc"].items(), ("mean of the defined", result["mean_auroc"])]
    lines = [f"{result['run_id']}: {result['dataset']} {result['split']}, {result['num_samples']:,} images"]
    lines += [f"  {label:<{width}}  {'undefined' if value is None else f'{value:.4f}'}" for label, value in rows]
    if result.get("left_out"):
        lines.append(f"  not in {result['dataset']}, left out: {', '.join(result['left_out'])}")
    lines += [f"  SEEN IN TRAINING: {text}" for text in result.get("seen_in_training", ())]
    if result["undefined_labels"]:
        lines.append(f"  one class only, left out of the mean: {', '.join(result['undefined_labels'])}")
    return "\n".join(lines)
