"""The healthy chest seen from the side: an anatomy and a frame enter, a scene leaves."""

# The breastbone lies towards negative u, the spine towards positive u.

from __future__ import annotations

from dataclasses import replace

import numpy as np

from datasets.phantom.anatomy import Anatomy
from datasets.phantom.canvas import Drawing, Field, Frame, blob, step
from datasets.phantom.scene import Scene, draw_vessels, heart_field, make_lung

_TWO_PI = 2 * np.pi
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
    density = _soft_tissue(anatomy, u, v, floor)
    shadow = heart_field(u, v, *heart, -0.75)
    shadow *= step(floor + 0.04 - v, 0.25)
    lung.mask *= 1 - 0.35 * shadow
    density -= 0.33 * anatomy.aeration * lung.mask
    density += 0.16 * shadow
    density += _bones(anatomy, u, v, lung.cage)
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


def _soft_tissue(anatomy: Anatomy, u: Field, v: Field, floor: float) -> Field:
    """Trunk with raised arms above and abdomen below."""
    half = 0.68 + 0.10 * anatomy.fat + 0.08 * np.clip(v, -0.5, 0.6)
    body = step(half - np.abs(u - 0.02), 0.08)
    density = body * (0.56 + 0.10 * anatomy.fat)
    density -= 0.10 * u * u * body
    density += 0.20 * body * step(v - (floor + 0.10) - 0.12 * u, 0.5)
    arms: Field = step(-0.66 - v + 0.25 * np.abs(u), 0.25) * body
    return density + 0.16 * arms


def _bones(anatomy: Anatomy, u: Field, v: Field, cage: Field) -> Field:
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
