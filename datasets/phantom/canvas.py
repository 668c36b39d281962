"""Draw soft masks, textures and lines on fields, arrays (H, W) of float32.

Places are given in thorax units: the origin is the middle of the picture, 1 is half the side of its central square,
u points right and v points down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

Field = NDArray[Any]
"""float32, (H, W). Numpy keeps float32 when a Python float joins in; its stubs promise float64, hence Any."""

_OVERSAMPLING = 2


@dataclass(frozen=True)
class Frame:
    """Where the thorax lies in a picture of ``height`` x ``width`` pixels.

    ``angle`` in radians, ``shift`` in thorax units; ``mirror`` is -1 for a picture seen from the other side.
    """

    height: int
    width: int
    zoom: float = 1.0
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirror: int = 1

    @property
    def pixels_per_unit(self) -> float:
        return min(self.height, self.width) / 2

    def grid(self) -> tuple[Field, Field]:
        """Thorax coordinates (u, v) of every pixel centre, each (H, W)."""
        across = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.pixels_per_unit
        down = (np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.pixels_per_unit
        across, down = (across - self.shift[0]) / self.zoom, (down - self.shift[1]) / self.zoom
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = (cos * across)[None, :] + (sin * down)[:, None]
        v = (-sin * across)[None, :] + (cos * down)[:, None]
        return (u * self.mirror).astype(np.float32), v.astype(np.float32)

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel places (x, y) of thorax points (..., 2); the inverse of :meth:`grid`."""
        u, v = points[..., 0] * self.mirror, points[..., 1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        across = (cos * u - sin * v) * self.zoom + self.shift[0]
        down = (sin * u + cos * v) * self.zoom + self.shift[1]
        middle = (self.width / 2, self.height / 2)
        return np.stack((across, down), axis=-1) * self.pixels_per_unit + middle


def step(field: Field, softness: float) -> Field:
    """Soft step from 0 to 1 where ``field`` passes 0, over a range of ``softness``."""
    t = field * (1 / softness)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    return (t * -2 + 3) * t * t


def blob(u: Field, v: Field, centre: tuple[float, float], radii: tuple[float, float]) -> Field:
    """Gaussian bump of height 1."""
    x, y = (u - centre[0]) / radii[0], (v - centre[1]) / radii[1]
    return np.asarray(np.exp(-(x * x + y * y)))


def ellipse(u: Field, v: Field, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Field:
    """Depth into an ellipse: 1 in its middle, 0 on its edge, negative outside; ``turn`` in radians."""
    x, y = u - centre[0], v - centre[1]
    if turn:
        cos, sin = math.cos(turn), math.sin(turn)
        x, y = cos * x + sin * y, cos * y - sin * x
    x, y = x * (1 / radii[0]), y * (1 / radii[1])
    return 1 - x * x - y * y


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> Field:
    """Smooth random texture of mean about 0 and spread about 1 with ``cells`` bumps along the shorter side."""
    short = min(shape)
    rows, columns = (max(2, round(cells * side / short)) for side in shape)
    coarse = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


class Drawing:
    """Lines and discs, smoothed, in the thorax units of a frame."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._image = Image.new("L", (frame.width * _OVERSAMPLING, frame.height * _OVERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)
        self._scale = frame.pixels_per_unit * frame.zoom * _OVERSAMPLING

    def line(self, points: ArrayLike, width: float, value: float) -> None:
        """A line through (n, 2) points, ``width`` in thorax units and at least one fine pixel, brightness 0..1."""
        self.lines(np.asarray(points, dtype=np.float64)[None], width, np.array([value]))

    def lines(self, points: NDArray[np.float64], width: float, values: NDArray[np.float64]) -> None:
        """Many lines of n points each, (lines, n, 2), of one width; one brightness each."""
        places = (self._frame.pixels(points) * _OVERSAMPLING).reshape(len(points), -1).tolist()
        pixels = max(1, round(width * self._scale))
        for place, value in zip(places, values, strict=True):
            self._draw.line(place, fill=round(255 * value), width=pixels)

    def disc(self, centre: tuple[float, float], radius: float, value: float) -> None:
        x, y = self._frame.pixels(np.asarray(centre, dtype=np.float64)) * _OVERSAMPLING
        r = max(1.0, radius * self._scale)
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=round(255 * value))

    def polygon(self, points: Sequence[tuple[float, float]], value: float) -> None:
        places = self._frame.pixels(np.asarray(points, dtype=np.float64)) * _OVERSAMPLING
        self._draw.polygon(places.ravel().tolist(), fill=round(255 * value))

    def array(self) -> Field:
        """What was drawn, (H, W), 0..1."""
        return np.asarray(self._image.reduce(_OVERSAMPLING), dtype=np.float32) * (1 / 255)
