"""One picture in the making: the fields that the anatomy fills and the findings change.

Density is what attenuates the beam: about 0 for air beside the body, 0.2 for lung, 0.6 for soft tissue, 1 for bone
over heart or abdomen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.canvas import Drawing, Field, Frame, ellipse, step

Point = tuple[float, float]

_CAGE_MIDDLE = 0.24
_BRANCHES = 10


@dataclass(kw_only=True)
class Lung:
    """One lung in its own coordinates: x -1 (medial) .. 1 (lateral), y 0 (apex) .. 1 (diaphragm's top)."""

    side: int
    centre: float
    width: float
    apex: float
    floor: float
    x: Field
    y: Field
    cage: Field
    """Depth into the chest wall's inside: 0 on the wall, negative outside, 1 in the middle."""
    mask: Field
    """1 where there is lung, 0 elsewhere."""

    def place(self, x: float, y: float) -> Point:
        """Thorax coordinates of a place in the lung."""
        return self.centre + self.side * x * self.width, self.apex + y * (self.floor - self.apex)

    def places(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Thorax coordinates (n, 2) of n places in the lung."""
        return np.stack((self.centre + self.side * x * self.width, self.apex + y * (self.floor - self.apex)), axis=-1)


@dataclass(kw_only=True)
class Scene:
    """Everything that findings may read or change."""

    frame: Frame
    u: Field
    v: Field
    lungs: tuple[Lung, ...]
    hila: tuple[Point, ...]
    heart: tuple[Point, Point]
    """Centre and half axes."""
    density: Field
    markings: Field
    """Lung vessels, added to the density at the end."""
    lateral: bool


def make_lung(
    u: Field, v: Field, *, side: int, centre: float, width: float, apex: float, floor: float, depth: float
) -> Lung:
    """A lung below its apex, inside the chest wall and above a diaphragm ``depth`` deep at the wall."""
    x = (u - centre) * (side / width)
    y = (v - apex) * (1 / (floor - apex))
    middle = _CAGE_MIDDLE + 0.5 * (floor - 0.42)
    height = middle - apex
    down = np.abs(v - middle) * (1 / height)
    cage = 1 - x * x - down * down * down
    dome = floor + depth * (x + 0.35) ** 2 * 0.6 - v
    mask = step(cage - 0.05, 0.16) * step(dome, 0.035)
    return Lung(side=side, centre=centre, width=width, apex=apex, floor=floor, x=x, y=y, cage=cage, mask=mask)


def draw_vessels(frame: Frame, lungs: tuple[Lung, ...], hila: tuple[Point, ...], key: int) -> Field:
    """A tree of branches that leave each hilum and thin out towards the chest wall, (H, W), 0..1."""
    drawing = Drawing(frame)
    rng = np.random.default_rng(key)
    for lung, hilum in zip(lungs, hila, strict=True):
        joints, angles = _branches(rng, hilum, lung.side)
        strengths = rng.uniform(0.6, 1.0, _BRANCHES)
        for joint in (2, 3):
            drawing.lines(_forks(joints[:, joint], angles[:, joint], lung.side), 0.010, 0.55 * strengths)
        drawing.lines(joints, 0.014, 0.7 * strengths)
        drawing.lines(joints[:, :3], 0.024, strengths)
    return drawing.array()


def _branches(rng: np.random.Generator, hilum: Point, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joints (branches, 5, 2) of winding vessels and the direction (branches, 5) in which each joint is left."""
    start = np.linspace(-1.45, 1.50, _BRANCHES) + rng.normal(0, 0.10, _BRANCHES)
    bends = rng.normal(0, 0.22, (_BRANCHES, 5)) - 0.10 * np.sign(start)[:, None]
    angles = start[:, None] + np.cumsum(bends, axis=1)
    strides = rng.uniform(0.09, 0.145, (_BRANCHES, 1)) * np.array([0.5, 1.0, 1.1, 1.2, 1.2])
    strides = strides * (1 + 0.35 * np.abs(np.sin(angles)))
    joints = np.stack((side * strides * np.cos(angles), strides * np.sin(angles)), axis=-1).cumsum(axis=1)
    return joints + np.asarray(hilum), angles


def _forks(joints: NDArray[np.float64], angles: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Two twigs at each joint as one line, (branches, 3, 2)."""
    tips = [
        joints + 0.075 * np.stack((side * np.cos(angles + turn), np.sin(angles + turn)), axis=-1)
        for turn in (-0.7, 0.7)
    ]
    return np.stack((tips[0], joints, tips[1]), axis=1)


def heart_field(u: Field, v: Field, centre: Point, axes: Point, turn: float) -> Field:
    """Soft heart shadow, 0..1."""
    return step(ellipse(u, v, centre, axes, turn), 0.42)
