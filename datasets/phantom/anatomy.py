"""Draw the measures of one patient's body, and change them by findings.

Measures are in thorax units (``canvas``); a picture adds its own pose and exposure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from datasets.phantom.findings import Case

Sex = Literal["Female", "Male"]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient's measures."""

    sex: Sex
    lung_centre: float
    lung_width: float
    apex: float
    domes: tuple[float, float]
    """Height v of the diaphragm's top, (image left, image right)."""
    dome_depth: float
    """How far the diaphragm falls from its top to the chest wall."""
    heart_width: float
    heart_height: float
    heart_shift: float
    mediastinum: float
    """Half width of the upper mediastinum."""
    spine_bend: float
    rib_spacing: float
    rib_phase: float
    rib_strength: float
    fat: float
    """Soft tissue in front of the lungs, 0 (lean) to 1."""
    aeration: float
    """Air in the lungs; 1 is normal, more is darker."""
    vessels: float
    haze: float
    """Density around the hila that is normal for this patient."""
    key: int
    """Seeds the vessel tree."""


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a healthy patient."""
    size = rng.normal(1.0, 0.04)
    dome = rng.normal(0.42, 0.05)
    return Anatomy(
        sex="Female" if rng.random() < 0.46 else "Male",
        lung_centre=0.40 * size,
        lung_width=rng.normal(0.325, 0.014) * size,
        apex=rng.normal(-0.74, 0.03),
        domes=(dome - rng.uniform(0.0, 0.05), dome + rng.uniform(0.0, 0.05)),
        dome_depth=rng.uniform(0.13, 0.22),
        heart_width=rng.normal(0.275, 0.014) * size,
        heart_height=rng.normal(0.29, 0.015),
        heart_shift=rng.normal(0.09, 0.015),
        mediastinum=rng.normal(0.105, 0.010),
        spine_bend=rng.normal(0.0, 0.025),
        rib_spacing=rng.normal(0.185, 0.012),
        rib_phase=rng.random(),
        rib_strength=rng.uniform(0.7, 1.2),
        fat=rng.beta(2, 3),
        aeration=rng.normal(1.0, 0.06),
        vessels=rng.uniform(0.8, 1.2),
        haze=rng.uniform(0.0, 0.05),
        key=int(rng.integers(2**63)),
    )


def afflict(anatomy: Anatomy, case: Case) -> Anatomy:
    """The measures after those findings that change the body's shape rather than add something to it."""
    for finding in case:
        s = finding.severity
        if finding.name == "cardiomegaly":
            anatomy = replace(
                anatomy,
                heart_width=anatomy.heart_width * (1.13 + 0.35 * s),
                heart_height=anatomy.heart_height * (1.03 + 0.10 * s),
                heart_shift=anatomy.heart_shift + 0.02 * s,
            )
        elif finding.name == "wide_mediastinum":
            anatomy = replace(anatomy, mediastinum=anatomy.mediastinum * (1.25 + 0.60 * s))
        elif finding.name == "emphysema":
            anatomy = replace(
                anatomy,
                aeration=anatomy.aeration + 0.06 + 0.20 * s,
                domes=(anatomy.domes[0] + 0.04 + 0.09 * s, anatomy.domes[1] + 0.04 + 0.09 * s),
                dome_depth=anatomy.dome_depth * (0.6 - 0.35 * s),
                heart_width=anatomy.heart_width * (0.95 - 0.10 * s),
                vessels=anatomy.vessels * (0.85 - 0.35 * s),
            )
        elif finding.name == "fibrosis":
            anatomy = replace(anatomy, domes=(anatomy.domes[0] - 0.03 - 0.04 * s, anatomy.domes[1] - 0.03 - 0.04 * s))
        elif finding.name == "atelectasis":
            rise = 0.04 + 0.08 * s
            left, right = anatomy.domes
            domes = (left - rise, right) if finding.side < 0 else (left, right - rise)
            anatomy = replace(anatomy, domes=domes)
    return anatomy
