"""Attention maps of pairs of cells on test radiographs, laid over them and plane beside plane; maps of one image."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from datasets.errors import InputError
from datasets.files import replacing
from harness.evaluation.maps import attention_map, unit_planes
from launch.report.content import Note, Picture, ReportData
from launch.report.figures.drawing import LABEL_SIZE, plain, remove, save, show_radiograph
from launch.report.read.collect import Run
from launch.report.statistics.pairs import Pair

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from harness.export.explain import ExplainedImage

MOST_PAIRS = 4
HOW = "give --data-dir, the folder of the betons: cxr report DIR --data-dir DATA"
_CAPTION = (
    "Test radiographs under the mean square of each network's unit planes at the attention layer, all on one "
    "scale (1 is even attention); the squares are the positions of the planes. Distance is equation (2) of the "
    "paper, for planes that pair."
)
_PLANES = "Every unit plane of the first radiograph, in its network's order, on one scale; white is zero."
_OVERLAY, _SIGNED = "viridis", "PuOr"
"""Colour maps that are told apart without colour vision: lightness rises, or falls to both sides of white."""
_SIDE_INCHES, _EXPLAINED_INCHES = 2.3, 2.6
_MOSAIC_COLUMNS = 8
_ALPHA = 0.5
"""Of a map over its radiograph."""


def attention_maps(data: ReportData) -> list[Picture | Note]:
    """Figures of the first repetition of each of the first pairs, or why there are none."""
    pairs = [pair for pair in data.pairs if pair.other.config.objective.teacher is not None]
    asked = data.options.num_maps > 0
    pictures: list[Picture] = []
    notes = []
    if not pairs:
        notes.append("Not drawn: no finished student with a teacher and its transfer-learning counterpart.")
    elif not asked:
        notes.append(f"Not drawn: {HOW}.")
    elif len(pairs) > MOST_PAIRS:
        notes.append(f"The first {MOST_PAIRS} of {len(pairs)} pairs are drawn.")
    for i in range(MOST_PAIRS):
        paths = data.out / f"attention_{i + 1}.png", data.out / f"attention_planes_{i + 1}.png"
        drawn: list[Picture] = []
        if asked and i < len(pairs):
            try:
                drawn = _draw(pairs[i], data, *paths)
            except InputError as error:
                notes.append(f"{pairs[i].text}: not drawn: {error}")
        pictures += drawn
        for path in () if drawn else paths:
            remove(path)
    return [*(Note(text, terminal=asked) for text in notes), *pictures]


def _draw(pair: Pair, data: ReportData, overlays: Path, planes: Path) -> list[Picture]:
    from harness.evaluation.attention_maps import attention_planes, choose_radiographs, plane_distance
    from harness.runs.runtime import RuntimeConfig
    from harness.weights.teacher import read_teacher
    from harness.weights.weight_files import read_run

    options = data.options
    runtime = RuntimeConfig(
        runs_dir=data.collection.directory,
        run_folders={run.run_id: run.folder.path for run in data.collection.runs},
        imagenet_weights=options.imagenet_weights,
        xrv_weights=options.xrv_weights,
    )
    other, base = pair.other.finished[0], pair.base.finished[0]
    beton = _open_beton(other, options.data_dir)
    chosen = choose_radiographs(beton, options.num_maps)
    images = beton.gather(chosen)
    weights = other.config.objective.teacher
    assert weights is not None, "pairs without a teacher were left out"
    teacher = attention_planes(read_teacher(weights, runtime).network, images)
    seen = [Seen(f"Teacher: {pair.other.label.teacher_text}", teacher)]
    for name, run in (("Student with teacher", other), ("Transfer learning alone", base)):
        own = attention_planes(read_run(run.config, run.folder).build(), images)
        seen.append(Seen(name, own, plane_distance(own, teacher)))
    draw_overlays(images, [_findings(beton, int(index)) for index in chosen], seen, overlays)
    draw_planes(seen, 0, planes)
    what = f"{pair.text}, {pair.other.label.group_text}, seeds {other.config.seed} and {base.config.seed}"
    maps = Picture(overlays, f"Attention maps: {what}", _CAPTION)
    return [maps, Picture(planes, f"Attention planes: {what}", _PLANES)]


def _open_beton(run: Run, data_dir: Path | None) -> Beton:
    from datasets.beton.mixed import open_beton

    path = run.beton if data_dir is None else data_dir / f"{run.config.data.dataset}.beton"
    if path is None:
        raise InputError(f"the run does not say which beton it read; {HOW}")
    beton = open_beton(path)
    if run.content_hash and beton.sidecar.content_hash.rpartition(":")[2] != run.content_hash:
        theirs = f"{run.content_hash[:10]}..."
        raise InputError(f"{path}: not the beton that the runs read, whose content hash is {theirs}")
    return beton


def _findings(beton: Beton, index: int) -> str:
    """Title of a radiograph: its sample index and what it is labelled with; no path, which may name a patient."""
    row = beton.targets[index]
    found = ", ".join(label for label, value in zip(beton.labels, row, strict=True) if value == 1) or "no finding"
    return f"Test image {index}\n" + textwrap.shorten(found, 34, placeholder=" ...")


class Seen(NamedTuple):
    """What one network attends to on N radiographs."""

    name: str
    planes: np.ndarray
    """(N, C, h, w)."""
    distance: np.ndarray | None = None
    """Equation (2) to the teacher's planes for each radiograph; None for the teacher, or where planes do not pair."""

    @property
    def title(self) -> str:
        """Name and, for a student whose planes pair with the teacher's, its mean distance."""
        return self.name if self.distance is None else f"{self.name}\ndistance to teacher {self.distance.mean():.2f}"


def draw_overlays(images: np.ndarray, titles: Sequence[str], seen: Sequence[Seen], path: Path) -> None:
    """A row for each radiograph (N, S, S) uint8: as it is, then under each network's map, all on one scale."""
    maps = [attention_map(item.planes) for item in seen]
    values = np.concatenate([found.ravel() for found in maps])
    rows, columns, size = len(images), 1 + len(seen), images.shape[-1]
    figure = Figure(figsize=(_SIDE_INCHES * columns + 0.9, _SIDE_INCHES * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    scale = {"cmap": _OVERLAY, "vmin": float(values.min()), "vmax": float(values.max()), "interpolation": "nearest"}
    for i in range(rows):
        show_radiograph(axes[i][0], images[i], titles[i])
        for j, (item, found) in enumerate(zip(seen, maps, strict=True), start=1):
            show_radiograph(axes[i][j], images[i], item.title if i == 0 else "")
            extent = (-0.5, size - 0.5, size - 0.5, -0.5)
            drawn = axes[i][j].imshow(found[i], alpha=_ALPHA, extent=extent, **scale)
    _colour_bar(figure, axes, drawn, "Attention (1 = even over the image)")
    save(figure, path)


def draw_planes(seen: Sequence[Seen], which: int, path: Path) -> None:
    """All unit planes of each network for radiograph ``which``, in the same places and on one scale."""
    units = [unit_planes(item.planes[which]) for item in seen]
    highest = max(float(np.abs(found).max()) for found in units)
    shape = mosaic(units[0]).shape
    height = _SIDE_INCHES * 1.5 * shape[0] / shape[1] + 0.8
    figure = Figure(figsize=(_SIDE_INCHES * 1.5 * len(seen) + 0.9, height), layout="constrained")
    axes = figure.subplots(1, len(seen), squeeze=False)[0]
    for panel, item, found in zip(axes, seen, units, strict=True):
        drawn = panel.imshow(mosaic(found), cmap=_SIGNED, vmin=-highest, vmax=highest, interpolation="nearest")
        distance = "" if item.distance is None else f"\ndistance to teacher {item.distance[which]:.2f}"
        panel.set_title(plain(item.name) + distance, fontsize=LABEL_SIZE)
        panel.set_xticks([])
        panel.set_yticks([])
    _colour_bar(figure, axes, drawn, "Unit plane")
    save(figure, path)


def _colour_bar(figure: Figure, axes: np.ndarray, drawn: AxesImage, label: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=LABEL_SIZE - 1)
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)


def mosaic(planes: np.ndarray) -> np.ndarray:
    """Planes (C, h, w) as one picture, row by row, NaN in the gaps between them; up to 64 are eight to a row."""
    count, height, _ = planes.shape
    columns = min(max(_MOSAIC_COLUMNS, math.isqrt(count)), count)
    rows = -(-count // columns)
    gap = max(1, height // 4)
    empty = ((0, rows * columns - count), (0, gap), (0, gap))
    tiles = np.pad(planes.astype(np.float64), empty, constant_values=np.nan).reshape(rows, columns, height + gap, -1)
    return tiles.swapaxes(1, 2).reshape(rows * (height + gap), -1)[:-gap, :-gap]


def draw_explanation(image: ExplainedImage, path: Path) -> None:
    """Write a PNG: the page as it is, under its attention map, and under Grad-CAM of each label.

    Each map has a scale of its own, from 0 to its maximum.
    """
    assert image.page is not None, "an image that cannot be used has no maps"
    titled = [("Attention map", image.attention)]
    titled += [
        (f"Grad-CAM: {label} ({image.probabilities[label]:.2f})", found) for label, found in image.grad_cam.items()
    ]
    figure = Figure(figsize=(_EXPLAINED_INCHES * (1 + len(titled)), _EXPLAINED_INCHES + 0.4), layout="constrained")
    first, *rest = figure.subplots(1, 1 + len(titled), squeeze=False)[0]
    show_radiograph(first, image.page, image.path.name)
    for axes, (title, found) in zip(rest, titled, strict=True):
        show_radiograph(axes, image.page, title)
        if found is not None:
            axes.imshow(found, cmap=_OVERLAY, alpha=_ALPHA, vmin=0, vmax=max(float(found.max()), 1e-12))
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130, facecolor="white", metadata={"Software": None})
