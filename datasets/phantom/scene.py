"""Draw the healthy chest from the front or the side: a scene of fields that the findings then change.

Density is what attenuates the beam: about 0 for air beside the body, 0.2 for lung, 0.6 for soft tissue, 1 for bone
over heart or abdomen. In a lateral picture the breastbone lies towards negative u, the spine towards positive u.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.canvas import Drawing, Field, Frame, blob, ellipse, step
from datasets.phantom.patients import Anatomy, Case

Point = tuple[float, float]

_TWO_PI = 2 * np.pi
_CAGE_MIDDLE = 0.24
_BRANCHES = 10
_HILUM_HEIGHT = -0.06
_WIDENING = 1.62
"""Depth of the chest from front to back over the width of one lung."""


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

    def place(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Thorax coordinates of a place in the lung, or of many."""
        return self.centre + self.side * x * self.width, self.apex + y * (self.floor - self.apex)


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

    @property
    def lateral(self) -> bool:
        """Whether the chest is seen from the side, its two lungs as one."""
        return len(self.lungs) == 1


def _lung(u: Field, v: Field, anatomy: Anatomy, side: int, *, lateral: bool = False) -> Lung:
    """A lung below its apex, inside the chest wall and above the diaphragm; in a lateral picture both as one."""
    centre = 0.0 if lateral else side * anatomy.lung_centre
    width = anatomy.lung_width * (_WIDENING if lateral else 1.0)
    floor = anatomy.dome if lateral else anatomy.domes[(side + 1) // 2]
    depth = anatomy.dome_depth * (1.3 if lateral else 1.0)
    apex = anatomy.apex
    x = (u - centre) * (side / width)
    y = (v - apex) * (1 / (floor - apex))
    middle = _CAGE_MIDDLE + 0.5 * (floor - 0.42)
    down = np.abs(v - middle) * (1 / (middle - apex))
    cage = 1 - x * x - down * down * down
    dome = floor + depth * (x + 0.35) ** 2 * 0.6 - v
    mask = step(cage - 0.05, 0.16) * step(dome, 0.035)
    return Lung(side=side, centre=centre, width=width, apex=apex, floor=floor, x=x, y=y, cage=cage, mask=mask)


def _draw_vessels(frame: Frame, lungs: tuple[Lung, ...], hila: tuple[Point, ...], key: int) -> Field:
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


def _heart(u: Field, v: Field, centre: Point, axes: Point, turn: float) -> Field:
    """Soft heart shadow, 0..1."""
    return step(ellipse(u, v, centre, axes, turn), 0.42)


def frontal_scene(anatomy: Anatomy, frame: Frame, case: Case, *, bedside: bool) -> Scene:
    """Draw body, lungs, heart, bones and vessels; the heart is magnified in a picture taken at the bed (AP)."""
    u, v = frame.grid()
    lungs = tuple(_lung(u, v, anatomy, side) for side in (-1, 1))
    axes = (anatomy.heart_width * (1.06 if bedside else 1.0), anatomy.heart_height)
    heart = ((anatomy.heart_shift, anatomy.dome - 0.21), axes)
    shadow = _middle(anatomy, u, v, heart)
    for lung in lungs:
        lung.mask *= 1 - 0.55 * shadow
    density = _frontal_soft_tissue(anatomy, u, v, lungs)
    density += 0.20 * shadow
    density += 0.065 * anatomy.rib_strength * _ribs(anatomy, u, v, lungs, case)
    density += _frontal_bones(anatomy, frame, u, v)
    hila = tuple((lung.side * 0.15, _HILUM_HEIGHT + (0.02 if lung.side < 0 else 0.0)) for lung in lungs)
    for lung, hilum in zip(lungs, hila, strict=True):
        density += 0.06 * blob(u, v, hilum, (0.08, 0.12))
        density += anatomy.haze * blob(u, v, (2 * hilum[0], hilum[1]), (0.24, 0.32)) * lung.mask
    markings = _draw_vessels(frame, lungs, hila, anatomy.key)
    markings *= 0.14 * anatomy.vessels * (lungs[0].mask + lungs[1].mask) * (1 - 0.8 * shadow)
    return Scene(frame=frame, u=u, v=v, lungs=lungs, hila=hila, heart=heart, density=density, markings=markings)


def _frontal_soft_tissue(anatomy: Anatomy, u: Field, v: Field, lungs: tuple[Lung, ...]) -> Field:
    """Body outline with shoulders, abdomen below the diaphragm, air in the lungs, breasts."""
    away = np.abs(u)
    wall = 0.87 + 0.10 * anatomy.fat - away + 0.25 * np.clip(-v - 0.1, 0, 1)
    slope = np.clip(away - 0.24, 0, 1)
    shoulder = v + 0.98 - 0.64 * slope * (1.35 - slope)
    body = step(np.minimum(wall, shoulder), 0.06)
    density = body * (0.52 + 0.10 * anatomy.fat)
    density -= 0.16 * away * away * body
    floor = anatomy.dome + 0.06
    density += 0.24 * step(v - floor, 0.55) * body
    for lung in lungs:
        density -= 0.33 * anatomy.aeration * lung.mask
    if anatomy.sex == "Female":
        for side in (-1, 1):
            low = blob(u, v, (side * 0.44, 0.40), (0.30, 0.24))
            density += (0.05 + 0.08 * anatomy.fat) * step(low - 0.35, 0.35)
    stomach = blob(u, v, (0.40, anatomy.domes[1] + 0.17), (0.10, 0.06))
    density -= 0.16 * step(stomach - 0.5, 0.4)
    return density


def _middle(anatomy: Anatomy, u: Field, v: Field, heart: tuple[Point, Point]) -> Field:
    """Heart, great vessels and aortic knob as one shadow, 0..1."""
    (across, down), (width, height) = heart
    shadow = _heart(u, v, (across, down), (width, height), 0.45)
    apex = _heart(u, v, (across + 0.42 * width, down + 0.10), (0.62 * width, 0.55 * height), 0.5)
    np.maximum(shadow, apex, out=shadow)
    half = anatomy.mediastinum + np.clip((v + 0.25) * 0.22, 0, 0.11)
    np.maximum(shadow, step(half - np.abs(u - 0.015), 0.07), out=shadow)
    knob = blob(u, v, (anatomy.mediastinum * 0.95, -0.30), (0.085, 0.085))
    np.maximum(shadow, step(knob - 0.4, 0.5), out=shadow)
    return shadow * step(anatomy.dome + 0.05 - v, 0.3)


def _ribs(anatomy: Anatomy, u: Field, v: Field, lungs: tuple[Lung, ...], case: Case) -> Field:
    """Posterior and, fainter, anterior ribs as level lines of two phases, 0..1 inside the rib cage.

    A fracture breaks two to four neighbours, one below the other: displaced ends and callus brighter than a rib.
    """
    away = np.abs(u)
    density = 1 / anatomy.rib_spacing
    back = (v - 0.55 * away * away + 0.15 * away) * density
    back += anatomy.rib_phase
    callus = np.zeros_like(u)
    for fracture in (finding for finding in case if finding.name == "fracture"):
        rng = np.random.default_rng(fracture.key)
        from_spine, first = rng.uniform(0.48, 0.62), int(rng.integers(-3, 0))
        for rib in range(first, first + int(rng.integers(2, 5))):
            beside = fracture.side * u - (from_spine + rng.normal(0, 0.015))
            along, across = beside / 0.065, (back - rib) * (anatomy.rib_spacing / 0.055)
            callus += (3.2 + 3.0 * fracture.severity) * np.exp(-along * along - across * across)
            near = step(0.5 - np.abs(back - rib), 0.1)
            back = back + (0.25 + 0.20 * fracture.severity) * step(beside, 0.03) * near
    front = (v + 0.55 * away) * density + anatomy.rib_phase * 0.7
    ribs = np.clip(np.cos(_TWO_PI * back) * 1.4 - 0.2, 0, 1)
    ribs += 0.5 * np.clip(np.cos(_TWO_PI * front) * 1.6 - 0.6, 0, 1) * step(away - 0.34, 0.3)
    inside = step(lungs[0].cage + 0.12, 0.2)
    np.maximum(inside, step(lungs[1].cage + 0.12, 0.2), out=inside)
    return (ribs * step(0.45 - v, 0.5) + callus) * inside


def _frontal_bones(anatomy: Anatomy, frame: Frame, u: Field, v: Field) -> Field:
    """Density of spine, trachea (negative), clavicles and shoulder blades."""
    middle = u - anatomy.spine_bend * np.sin(2.5 * v)
    vertebrae = 0.8 + 0.2 * np.cos(_TWO_PI * v / anatomy.rib_spacing)
    density = 0.075 * step(0.08 - np.abs(middle), 0.04) * vertebrae
    density -= 0.10 * step(0.035 - np.abs(u + 0.01), 0.04) * step(-0.22 - v, 0.12)
    bones = Drawing(frame)
    for side in (-1, 1):
        collar = ((0.09, -0.55), (0.26, -0.61), (0.45, -0.65), (0.64, -0.69), (0.78, -0.66))
        bones.line([(side * x, y) for x, y in collar], 0.050, 0.9)
        blade = ((0.80, -0.66), (0.70, -0.40), (0.64, -0.12), (0.60, 0.0))
        bones.line([(side * x, y) for x, y in blade], 0.030, 0.35)
    return density + 0.13 * bones.array()


def lateral_scene(anatomy: Anatomy, frame: Frame) -> Scene:
    """Draw body, the two lungs on top of each other, heart, spine, ribs and vessels."""
    u, v = frame.grid()
    floor = anatomy.dome
    lung = _lung(u, v, anatomy, 1, lateral=True)
    size = anatomy.heart_width
    heart = ((-0.18 + 0.25 * (size - 0.275), floor - 0.14), (size * 0.98, anatomy.heart_height * 1.15))
    density = _lateral_soft_tissue(anatomy, u, v, floor)
    shadow = _heart(u, v, *heart, -0.75)
    shadow *= step(floor + 0.04 - v, 0.25)
    lung.mask *= 1 - 0.35 * shadow
    density -= 0.33 * anatomy.aeration * lung.mask
    density += 0.16 * shadow
    density += _lateral_bones(anatomy, u, v, lung.cage)
    hilum = (0.03, -0.10)
    density += 0.10 * blob(u, v, hilum, (0.11, 0.13)) + anatomy.haze * blob(u, v, hilum, (0.30, 0.34)) * lung.mask
    thick = step(anatomy.mediastinum * 1.6 - np.abs(u + 0.05), 0.25)
    density += 0.10 * thick * step(-0.28 - v, 0.3)
    markings = _draw_vessels(frame, (lung, replace(lung, side=-1)), (hilum, hilum), anatomy.key)
    front = Drawing(frame)
    front.line(((-0.40, -0.55), (-0.52, -0.2), (-0.55, 0.15)), 0.04, 0.8)
    density += 0.10 * front.array()
    markings = markings * (0.13 * anatomy.vessels) * lung.mask * (1 - 0.6 * shadow)
    return Scene(frame=frame, u=u, v=v, lungs=(lung,), hila=(hilum,), heart=heart, density=density, markings=markings)


def _lateral_soft_tissue(anatomy: Anatomy, u: Field, v: Field, floor: float) -> Field:
    """Trunk with raised arms above and abdomen below."""
    half = 0.68 + 0.10 * anatomy.fat + 0.08 * np.clip(v, -0.5, 0.6)
    body = step(half - np.abs(u - 0.02), 0.08)
    density = body * (0.56 + 0.10 * anatomy.fat)
    density -= 0.10 * u * u * body
    density += 0.20 * body * step(v - (floor + 0.10) - 0.12 * u, 0.5)
    arms: Field = step(-0.66 - v + 0.25 * np.abs(u), 0.25) * body
    return density + 0.16 * arms


def _lateral_bones(anatomy: Anatomy, u: Field, v: Field, cage: Field) -> Field:
    """Density of spine, slanting ribs and trachea (negative)."""
    back = u - 0.45 + 0.16 * (v + 0.1) ** 2
    spacing = anatomy.rib_spacing
    vertebrae = 0.7 + 0.3 * np.cos(_TWO_PI * (v + 0.25 * u) / spacing)
    density = 0.13 * step(0.085 - np.abs(back), 0.06) * vertebrae
    slant = (v + 0.45 * u) / spacing + anatomy.rib_phase
    ribs = np.clip(np.cos(_TWO_PI * slant) * 1.5 - 0.5, 0, 1)
    density += 0.035 * anatomy.rib_strength * ribs * step(cage + 0.1, 0.2)
    trachea = step(0.045 - np.abs(u + 0.02 - 0.12 * (v + 0.3)), 0.05)
    density -= 0.09 * trachea * step(-0.18 - v, 0.12)
    return density
