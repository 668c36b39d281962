"""``cxr explain``: draw a run's attention maps and Grad-CAM, or score them against boxes around findings."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from datasets.errors import InputError
from launch.ranges import Count, Share

if TYPE_CHECKING:
    from rich.table import Table

    from harness.runs.runtime import RuntimeConfig

logger = logging.getLogger(__name__)
NAMES = {"attention": "attention map", "grad_cam": "Grad-CAM"}


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Draw where a run's network looks in images, or score it against boxes around findings, by label.

    There are two kinds of maps, both at the network's attention tap: the mean square of the unit attention planes,
    one for all labels, and Grad-CAM, one for each. With images, each is written to OUT as a PNG under its maps. With
    --boxes, maps are scored: the pointing game is the share of images whose map has its maximum in a box, beside the
    share of the image that the boxes cover; IoU is that of the boxes with what is above THRESHOLD times the maximum.
    The scores go into the run's explanations.json, from where the report takes them.

    For example:
        cxr explain runs/first image.png scan.dcm --out maps --label Mass
        cxr explain runs/first --boxes BBox_List_2017.csv --data-dir data
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder, or its id (or a part that no other has) below RUNS_DIR."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")] = ()
    """PNG, JPEG and DICOM files, or folders of them, to be drawn."""
    out: Path | None = None
    """Folder of the drawings."""
    label: tuple[str, ...] = ()
    """Labels that Grad-CAM is drawn of; default: the most probable one of each image."""
    boxes: Path | None = None
    """ChestX-ray14's BBox_List_2017.csv, or a table of that form, plain or gzipped; 'cxr phantom' writes one."""
    box_side: Count = 1024
    """Side in pixels of the square images in whose pixels the boxes are; 1024 are the published ones."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose images are scored."""
    threshold: Share = 0.5
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
    """With --boxes: print what explanations.json holds, and nothing else."""

    def run(self) -> None:
        self._check()
        from harness.runs.runtime import RuntimeConfig
        from launch.plan.run_argument import find_run_folder

        folder = find_run_folder(self.run_folder, self.runs_dir)
        runtime = RuntimeConfig(data_dir=self.data_dir, beton=self.beton, device=self.device, precision="fp32")
        if self.boxes is not None:
            self._score(folder, self.boxes, runtime)
        else:
            assert self.out is not None, "checked above"
            self._draw(folder, self.out, runtime)

    def _check(self) -> None:
        if (self.boxes is None) == (not self.images):
            raise InputError("give either images, to be drawn, or --boxes FILE, to score the maps of the run's own")
        if self.images and self.out is None:
            raise InputError("say where the drawings go with --out DIR")

    def _score(self, path: Path, boxes: Path, runtime: RuntimeConfig) -> None:
        from datasets.beton.mixed import open_beton
        from harness.evaluation.explain import score_boxes
        from harness.runs.folder import RunFolder
        from launch.terminal import print_whole

        folder = RunFolder(path)
        beton = open_beton(runtime.beton_for(folder.config().data.dataset))
        found = score_boxes(
            folder, boxes, beton, runtime, split=self.split, threshold=self.threshold, side=self.box_side
        )
        if self.json:
            print(json.dumps(found, indent=2))
        else:
            print_whole(_table(found))

    def _draw(self, folder: Path, out: Path, runtime: RuntimeConfig) -> None:
        from datasets.errors import one_line
        from harness.export.explain import explain_images
        from harness.export.predict import image_files
        from harness.export.saved_model import open_model
        from launch.report.figures.attention import draw_explanation

        files, _ = image_files(self.images)
        model, bad, stems = open_model(folder, beton=self.beton), 0, Counter[str]()
        for image in explain_images(model, files, runtime, labels=self.label):
            if image.page is None:
                bad += 1
                logger.info("%s: %s", one_line(image.path), image.reason)
                continue
            stems[image.path.stem] += 1
            again = stems[image.path.stem]
            path = out / (image.path.stem + (f"-{again}" if again > 1 else "") + ".png")
            draw_explanation(image, path)
            print(path)
        if bad:
            raise InputError(f"{bad} of {len(files)} images could not be used; each is named above with its reason")


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
