"""Develop densities (H, W) into uint8 gray with a dataset's contrast, noise, borders and markers.

The three datasets share anatomy and traces; shape, contrast curve, noise, borders and lettering tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.canvas import Drawing, Field, Frame, clouds


@dataclass(frozen=True, kw_only=True)
class Style:
    """Look of one dataset."""

    aspects: tuple[float, ...]
    """Width over height, drawn at random; below 1 for portrait."""
    black: float
    """Density that is shown black."""
    white: float
    """Density that is shown white."""
    gamma: float
    noise: float
    border_chance: float
    lettering: tuple[str, ...]

    def shape(self, size: int, view: str, rng: np.random.Generator) -> tuple[int, int]:
        """(height, width) with ``size`` on the shorter side."""
        aspect = self.aspects[int(rng.integers(len(self.aspects)))]
        if view == "LATERAL":
            aspect = min(aspect, 1 / aspect)
        return (size, round(size * aspect)) if aspect >= 1 else (round(size / aspect), size)


_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0, 1), (0.5, 0), (1, 1)), ((0.25, 0.6), (0.75, 0.6))),
    "L": (((0, 0), (0, 1), (0.9, 1)),),
    "P": (((0, 1), (0, 0), (0.9, 0.1), (0.9, 0.45), (0, 0.55)),),
    "R": (((0, 1), (0, 0), (0.9, 0.1), (0.9, 0.45), (0, 0.55), (0.9, 1)),),
}
"""Letters as lines in a unit box: a font would make the bytes depend on the machine."""


def develop(density: Field, style: Style, frame: Frame, view: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose, add noise, lettering and border, and turn into gray levels."""
    span = style.white - style.black
    black = style.black + rng.normal(0, 0.025)
    gray = (density - black) * (1 / (span * rng.uniform(0.92, 1.08)))
    gray += 0.010 * clouds(rng, gray.shape, 4)
    gray += (style.noise * rng.uniform(0.5, 1.5)) * rng.standard_normal(gray.shape, dtype=np.float32)
    np.clip(gray, 0, 1, out=gray)
    gamma = style.gamma * np.exp(rng.normal(0, 0.08))
    np.power(gray, gamma, out=gray)
    choices = (*style.lettering, view) if view in ("AP", "PA") else style.lettering
    word = choices[int(rng.integers(len(choices)))]
    np.maximum(gray, _lettering(frame, word, rng), out=gray)
    if rng.random() < style.border_chance:
        _blacken_border(gray, rng)
    return (gray * 255 + 0.5).astype(np.uint8)


def _lettering(frame: Frame, word: str, rng: np.random.Generator) -> Field:
    """Lead letters in an upper corner, upright whatever the pose."""
    upright = Frame(height=frame.height, width=frame.width)
    drawing = Drawing(upright)
    size = 0.055
    left = (-1) ** int(rng.integers(2)) * 0.84 - size * len(word) / 2
    top = rng.uniform(-0.93, -0.85)
    for place, letter in enumerate(word):
        for stroke in _STROKES[letter]:
            points = [(left + size * (1.3 * place + x), top + size * 1.3 * y) for x, y in stroke]
            drawing.line(points, 0.015, 0.95)
    return drawing.array()


def _blacken_border(gray: Field, rng: np.random.Generator) -> None:
    """Black strips on one or two sides, where the collimator cut the beam."""
    strips = np.rint(rng.uniform(0, 0.045, 4) * min(gray.shape) * (rng.random(4) < 0.5)).astype(int)
    top, bottom, left, right = (int(strip) for strip in strips)
    gray[:top] = 0
    gray[gray.shape[0] - bottom :] = 0
    gray[:, :left] = 0
    gray[:, gray.shape[1] - right :] = 0
