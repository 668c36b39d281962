"""``cxr explain``: score a run's attention maps and Grad-CAM against boxes around findings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from datasets.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"attention": "attention map", "grad_cam": "Grad-CAM"}


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Score where a run's network looks against boxes around findings, by label.

    Two kinds of maps are scored, both at the network's attention tap: the mean square of the unit attention planes,
    one for all labels, and Grad-CAM, one for each. The pointing game is the share of images whose map has its maximum
    in a box, beside the share of the image that the boxes cover; IoU is that of the boxes with what is above
    THRESHOLD times the maximum. The scores go into the run's explanations.json, from where the report takes them.

    For example:
        cxr explain runs/first --boxes BBox_List_2017.csv --data-dir data
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder, or its id (or a part that no other has) below RUNS_DIR."""
    boxes: Path
    """ChestX-ray14's BBox_List_2017.csv, or a table of that form, plain or gzipped; 'cxr phantom' writes one."""
    box_side: int = 1024
    """Side in pixels of the square images in whose pixels the boxes are; 1024 are the published ones."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose images are scored."""
    threshold: float = 0.5
    """Share of a map's maximum from which on it covers a pixel."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton."""
    beton: Path | None = None
    """The run's beton, instead of the one in DATA_DIR."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute, in float32; auto takes CUDA when there is one."""
    json: bool = False
    """Print what explanations.json holds, and nothing else."""

    def run(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(f"--threshold {self.threshold:g}: expected above 0 and at most 1")
        if self.box_side < 1:
            raise InputError(f"--box-side {self.box_side}: expected at least 1")
        import torch

        from datasets.beton.reader import Beton
        from harness.evaluation.explain import score_boxes
        from harness.runs.folder import RunFolder
        from harness.runs.runtime import RuntimeConfig
        from launch.plan.run_argument import find_run_folder
        from launch.terminal import print_whole

        folder = RunFolder(find_run_folder(self.run_folder, self.runs_dir))
        runtime = RuntimeConfig(data_dir=self.data_dir, beton=self.beton)
        beton = Beton.open(runtime.beton_for(folder.config().data.dataset))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch sees no GPU on this machine")
        found = score_boxes(
            folder,
            self.boxes,
            beton,
            split=self.split,
            threshold=self.threshold,
            side=self.box_side,
            device="cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu",
        )
        if self.json:
            print(json.dumps(found, indent=2))
        else:
            print_whole(_table(found))


def _table(found: dict[str, Any]) -> Table:
    from rich.table import Table

    methods = found["methods"]
    table = Table(title=f"{found['run_id']}: maps and boxes, split {found['split']}", title_justify="left")
    table.add_column("label")
    names = [f"{NAMES[name]}: {score}" for name in methods for score in ("pointing", "IoU")]
    for name in ("images", "by chance", *names):
        table.add_column(name, justify="right")
    first = methods["attention"]
    for label, item in (*first["labels"].items(), ("mean", first["mean"])):
        scores = [part["mean"] if label == "mean" else part["labels"][label] for part in methods.values()]
        values = [f"{score[key]:.3f}" for score in scores for key in ("pointing", "iou")]
        table.add_row(label, f"{item['images']:,}", f"{item['chance']:.3f}", *values)
    return table
