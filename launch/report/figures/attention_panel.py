"""Two figures of attention planes: laid over radiographs, and side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from launch.report.figures.drawing import LABEL_SIZE, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

EPS = 1e-6
"""Norm under which a plane counts as empty, as in the attention loss."""
_OVERLAY, _SIGNED = "viridis", "PuOr"
"""Colour maps that are told apart without colour vision: lightness rises, or falls to both sides of white."""
_SIDE_INCHES = 2.3
_MOSAIC_COLUMNS = 8
_ALPHA = 0.5
"""Of a map over its radiograph."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one network attends to on N radiographs."""

    name: str
    planes: np.ndarray
    """(N, C, h, w)."""
    distance: np.ndarray | None = None
    """Equation (2) to the teacher's planes for each radiograph; None for the teacher."""

    @property
    def title(self) -> str:
        """Name and, for a student, its mean distance to the teacher."""
        return self.name if self.distance is None else f"{self.name}\ndistance to teacher {self.distance.mean():.2f}"


def unit_planes(planes: np.ndarray) -> np.ndarray:
    """Each plane (h, w) divided by its norm, as equation (2) has it."""
    norms = np.sqrt(np.square(planes, dtype=np.float64).sum(axis=(-2, -1), keepdims=True))
    units: np.ndarray = planes / np.maximum(norms, EPS)
    return units


def attention_map(planes: np.ndarray) -> np.ndarray:
    """(N, h, w): mean square of the unit planes times h w, so that 1 everywhere is even attention."""
    units = unit_planes(planes)
    found: np.ndarray = np.square(units).mean(axis=1) * (units.shape[-2] * units.shape[-1])
    return found


def draw_overlays(images: np.ndarray, titles: Sequence[str], seen: Sequence[Seen], path: Path) -> None:
    """A row for each radiograph (N, S, S) uint8: as it is, then under each network's map, all on one scale."""
    from matplotlib.figure import Figure

    maps = np.stack([attention_map(item.planes) for item in seen])
    rows, columns, size = len(images), 1 + len(seen), images.shape[-1]
    figure = Figure(figsize=(_SIDE_INCHES * columns + 0.9, _SIDE_INCHES * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    scale = {"cmap": _OVERLAY, "vmin": float(maps.min()), "vmax": float(maps.max()), "interpolation": "nearest"}
    for i in range(rows):
        _radiograph(axes[i][0], images[i], titles[i])
        for j, (item, found) in enumerate(zip(seen, maps, strict=True), start=1):
            _radiograph(axes[i][j], images[i], item.title if i == 0 else "")
            extent = (-0.5, size - 0.5, size - 0.5, -0.5)
            drawn = axes[i][j].imshow(found[i], alpha=_ALPHA, extent=extent, **scale)
    _colour_bar(figure, axes, drawn, "Attention (1 = even over the image)")
    save(figure, path)


def draw_planes(seen: Sequence[Seen], which: int, path: Path) -> None:
    """All unit planes of each network for radiograph ``which``, in the same places and on one scale."""
    from matplotlib.figure import Figure

    units = np.stack([unit_planes(item.planes[which]) for item in seen])
    highest = float(np.abs(units).max())
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
    """Planes (C, h, w) as one picture, row by row, eight to a row, NaN in the gaps between them."""
    count, height, width = planes.shape
    columns = min(_MOSAIC_COLUMNS, count)
    rows = -(-count // columns)
    gap = max(1, height // 4)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for number, plane in enumerate(planes):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = plane
    return canvas


def _radiograph(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_title(plain(title), fontsize=LABEL_SIZE)
    axes.set_axis_off()
