"""From a described picture to pixels: anatomy, findings, pose and style enter, uint8 gray (H, W) leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.phantom import chest_traces, lung_traces
from datasets.phantom.anatomy import Anatomy, afflict
from datasets.phantom.canvas import Frame
from datasets.phantom.findings import Case, Finding
from datasets.phantom.frontal import frontal_scene
from datasets.phantom.lateral import lateral_scene
from datasets.phantom.scene import Scene
from datasets.phantom.style import STYLES, develop

View = Literal["AP", "PA", "LATERAL"]
Trace = Callable[[Scene, Finding, np.random.Generator], None]

TRACES: dict[str, Trace] = {
    "atelectasis": lung_traces.atelectasis,
    "consolidation": lung_traces.consolidation,
    "devices": chest_traces.devices,
    "edema": lung_traces.edema,
    "effusion": chest_traces.effusion,
    "emphysema": chest_traces.emphysema,
    "fibrosis": lung_traces.fibrosis,
    "fracture": chest_traces.fracture,
    "hernia": chest_traces.hernia,
    "infiltration": lung_traces.infiltration,
    "mass": lung_traces.mass,
    "nodule": lung_traces.nodule,
    "pleural_thickening": chest_traces.pleural_thickening,
    "pneumonia": lung_traces.pneumonia,
    "pneumothorax": chest_traces.pneumothorax,
}
"""How findings are drawn; cardiomegaly and wide_mediastinum change the anatomy alone."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image to be made, ``size`` pixels on its shorter side."""

    dataset: str
    anatomy: Anatomy
    case: Case
    view: View
    size: int


def render(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a picture; ``rng`` gives pose, exposure and noise."""
    style = STYLES[picture.dataset]
    height, width = style.shape(picture.size, picture.view, rng)
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
        breaks = chest_traces.rib_breaks(picture.case)
        scene = frontal_scene(anatomy, frame, magnification=magnification, breaks=breaks)
    for finding in picture.case:
        trace = TRACES.get(finding.name)
        if trace is not None:
            trace(scene, finding, np.random.default_rng(finding.key))
    scene.density += scene.markings
    return develop(scene.density, style, frame, picture.view, rng)
