"""Draw the healthy chest from the front and from the side: a scene of an anatomy, without findings.

In a lateral picture the breastbone lies towards negative u, the spine towards positive u.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from datasets.phantom.anatomy import Anatomy
from datasets.phantom.canvas import Drawing, Field, Frame, blob, step
from datasets.phantom.scene import Lung, Point, Scene, draw_vessels, heart_field, make_lung

_TWO_PI = 2 * np.pi
_HILUM_HEIGHT = -0.06


@dataclass(frozen=True)
class Break:
    """A broken rib: which rib on which side, how far from the spine, how displaced, how much callus around it."""

    side: int
    rib: int
    distance: float
    displacement: float
    """In rib spacings."""
    callus: float
    """Density over that of a rib."""


def frontal_scene(anatomy: Anatomy, frame: Frame, *, magnification: float, breaks: tuple[Break, ...]) -> Scene:
    """Draw body, lungs, heart, bones and vessels; ``magnification`` of the heart is above 1 for AP pictures."""
    u, v = frame.grid()
    lungs = tuple(_lung(anatomy, u, v, side) for side in (-1, 1))
    heart = (
        (anatomy.heart_shift, sum(anatomy.domes) / 2 - 0.21),
        (anatomy.heart_width * magnification, anatomy.heart_height),
    )
    shadow = _middle(anatomy, u, v, heart)
    for lung in lungs:
        lung.mask *= 1 - 0.55 * shadow
    density = _frontal_soft_tissue(anatomy, u, v, lungs)
    density += 0.20 * shadow
    density += 0.065 * anatomy.rib_strength * _ribs(anatomy, u, v, lungs, breaks)
    density += _frontal_bones(anatomy, frame, u, v)
    hila = tuple((lung.side * 0.15, _HILUM_HEIGHT + (0.02 if lung.side < 0 else 0.0)) for lung in lungs)
    for lung, hilum in zip(lungs, hila, strict=True):
        density += 0.06 * blob(u, v, hilum, (0.08, 0.12))
        density += anatomy.haze * blob(u, v, (2 * hilum[0], hilum[1]), (0.24, 0.32)) * lung.mask
    markings = draw_vessels(frame, lungs, hila, anatomy.key)
    markings *= 0.14 * anatomy.vessels * (lungs[0].mask + lungs[1].mask) * (1 - 0.8 * shadow)
    return Scene(
        frame=frame,
        u=u,
        v=v,
        lungs=lungs,
        hila=hila,
        heart=heart,
        density=density,
        markings=markings,
        lateral=False,
    )


def _lung(anatomy: Anatomy, u: Field, v: Field, side: int) -> Lung:
    return make_lung(
        u,
        v,
        side=side,
        centre=side * anatomy.lung_centre,
        width=anatomy.lung_width,
        apex=anatomy.apex,
        floor=anatomy.domes[(side + 1) // 2],
        depth=anatomy.dome_depth,
    )


def _frontal_soft_tissue(anatomy: Anatomy, u: Field, v: Field, lungs: tuple[Lung, ...]) -> Field:
    """Body outline with shoulders, abdomen below the diaphragm, air in the lungs, breasts."""
    away = np.abs(u)
    wall = 0.87 + 0.10 * anatomy.fat - away + 0.25 * np.clip(-v - 0.1, 0, 1)
    slope = np.clip(away - 0.24, 0, 1)
    shoulder = v + 0.98 - 0.64 * slope * (1.35 - slope)
    body = step(np.minimum(wall, shoulder), 0.06)
    density = body * (0.52 + 0.10 * anatomy.fat)
    density -= 0.16 * away * away * body
    floor = sum(anatomy.domes) / 2 + 0.06
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
    shadow = heart_field(u, v, (across, down), (width, height), 0.45)
    apex = heart_field(u, v, (across + 0.42 * width, down + 0.10), (0.62 * width, 0.55 * height), 0.5)
    np.maximum(shadow, apex, out=shadow)
    half = anatomy.mediastinum + np.clip((v + 0.25) * 0.22, 0, 0.11)
    np.maximum(shadow, step(half - np.abs(u - 0.015), 0.07), out=shadow)
    knob = blob(u, v, (anatomy.mediastinum * 0.95, -0.30), (0.085, 0.085))
    np.maximum(shadow, step(knob - 0.4, 0.5), out=shadow)
    return shadow * step(sum(anatomy.domes) / 2 + 0.05 - v, 0.3)


def _ribs(anatomy: Anatomy, u: Field, v: Field, lungs: tuple[Lung, ...], breaks: tuple[Break, ...]) -> Field:
    """Posterior and, fainter, anterior ribs as level lines of two phases, 0..1 inside the rib cage."""
    away = np.abs(u)
    density = 1 / anatomy.rib_spacing
    back = (v - 0.55 * away * away + 0.15 * away) * density
    back += anatomy.rib_phase
    callus = np.zeros_like(u)
    for each in breaks:
        along, across = (each.side * u - each.distance) / 0.065, (back - each.rib) * (anatomy.rib_spacing / 0.055)
        callus += each.callus * np.exp(-along * along - across * across)
        outside = step(each.side * u - each.distance, 0.03)
        near = step(0.5 - np.abs(back - each.rib), 0.1)
        back = back + each.displacement * outside * near
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


_WIDENING = 1.62
"""Depth of the chest from front to back over the width of one lung."""


def lateral_scene(anatomy: Anatomy, frame: Frame) -> Scene:
    """Draw body, the two lungs on top of each other, heart, spine, ribs and vessels."""
    u, v = frame.grid()
    floor = sum(anatomy.domes) / 2
    lung = make_lung(
        u,
        v,
        side=1,
        centre=0.0,
        width=anatomy.lung_width * _WIDENING,
        apex=anatomy.apex,
        floor=floor,
        depth=anatomy.dome_depth * 1.3,
    )
    size = anatomy.heart_width
    heart = ((-0.18 + 0.25 * (size - 0.275), floor - 0.14), (size * 0.98, anatomy.heart_height * 1.15))
    density = _lateral_soft_tissue(anatomy, u, v, floor)
    shadow = heart_field(u, v, *heart, -0.75)
    shadow *= step(floor + 0.04 - v, 0.25)
    lung.mask *= 1 - 0.35 * shadow
    density -= 0.33 * anatomy.aeration * lung.mask
    density += 0.16 * shadow
    density += _lateral_bones(anatomy, u, v, lung.cage)
    hilum = (0.03, -0.10)
    density += 0.10 * blob(u, v, hilum, (0.11, 0.13)) + anatomy.haze * blob(u, v, hilum, (0.30, 0.34)) * lung.mask
    thick = step(anatomy.mediastinum * 1.6 - np.abs(u + 0.05), 0.25)
    density += 0.10 * thick * step(-0.28 - v, 0.3)
    markings = draw_vessels(frame, (lung, replace(lung, side=-1)), (hilum, hilum), anatomy.key)
    front = Drawing(frame)
    front.line(((-0.40, -0.55), (-0.52, -0.2), (-0.55, 0.15)), 0.04, 0.8)
    density += 0.10 * front.array()
    return Scene(
        frame=frame,
        u=u,
        v=v,
        lungs=(lung,),
        hila=(hilum,),
        heart=heart,
        density=density,
        markings=markings * (0.13 * anatomy.vessels) * lung.mask * (1 - 0.6 * shadow),
        lateral=True,
    )


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
