"""Render a described picture, its anatomy, findings, pose and style, to uint8 gray (H, W)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.anatomy import Anatomy, afflict
from datasets.phantom.canvas import Frame
from datasets.phantom.findings import Case
from datasets.phantom.style import Style, develop
from datasets.phantom.traces import TRACES, rib_breaks
from datasets.phantom.views import frontal_scene, lateral_scene

View = Literal["AP", "PA", "LATERAL"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image to be made, ``size`` pixels on its shorter side."""

    style: Style
    anatomy: Anatomy
    case: Case
    view: View
    size: int


def render(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a picture; ``rng`` gives pose, exposure and noise."""
    height, width = picture.style.shape(picture.size, picture.view, rng)
    lateral = picture.view == "LATERAL"
    spread = 1.6 if picture.view == "AP" else 1.0
    frame = Frame(
        height=height,
        width=width,
        zoom=float(np.clip(rng.normal(1.0, 0.045), 0.85, 1.15)),
        angle=float(np.clip(rng.normal(0, 0.028 * spread), -0.15, 0.15)),
        shift=(float(rng.normal(0, 0.03 * spread)), float(rng.normal(0, 0.03))),
        mirror=-1 if lateral and rng.random() < 0.15 else 1,
    )
    anatomy = afflict(picture.anatomy, picture.case)
    if lateral:
        scene = lateral_scene(anatomy, frame)
    else:
        magnification = 1.06 if picture.view == "AP" else 1.0
        breaks = rib_breaks(picture.case)
        scene = frontal_scene(anatomy, frame, magnification=magnification, breaks=breaks)
    for finding in picture.case:
        trace = TRACES.get(finding.name)
        if trace is not None:
            trace(scene, finding, np.random.default_rng(finding.key))
    scene.density += scene.markings
    return develop(scene.density, picture.style, frame, picture.view, rng)
