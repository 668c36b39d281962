"""Draw what a phantom patient suffers from: a case of findings with severities.

A finding is one visual trace. The same traces are drawn for every dataset; datasets differ in how often a finding
occurs, in what they call it, and in whether they name it at all. An unnamed finding is seen but not labelled, like a
pacemaker in ChestX-ray14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CHEXPERT_PREVALENCE = {
    "atelectasis": 0.15,
    "cardiomegaly": 0.13,
    "consolidation": 0.09,
    "devices": 0.48,
    "edema": 0.20,
    "effusion": 0.33,
    "emphysema": 0.02,
    "fibrosis": 0.02,
    "fracture": 0.10,
    "hernia": 0.02,
    "infiltration": 0.06,
    "mass": 0.06,
    "nodule": 0.06,
    "pleural_thickening": 0.09,
    "pneumonia": 0.09,
    "pneumothorax": 0.10,
    "wide_mediastinum": 0.10,
}
"""Probability of each finding in a newly drawn case. They follow the real tables (CheXpert: Edema 0.23, Pleural
Effusion 0.39, Support Devices 0.52; ChestX-ray14: Infiltration 0.18, Effusion 0.12) except that what is rare there
(Pleural Other 0.016, Pneumonia 0.027, Hernia 0.002 ...) is lifted to at least 0.06, so that a few hundred images hold
positives of every label."""

FINDINGS = tuple(CHEXPERT_PREVALENCE)

CHESTXRAY14_PREVALENCE = {
    "atelectasis": 0.11,
    "cardiomegaly": 0.07,
    "consolidation": 0.07,
    "devices": 0.08,
    "edema": 0.07,
    "effusion": 0.13,
    "emphysema": 0.07,
    "fibrosis": 0.07,
    "fracture": 0.02,
    "hernia": 0.06,
    "infiltration": 0.16,
    "mass": 0.08,
    "nodule": 0.08,
    "pleural_thickening": 0.07,
    "pneumonia": 0.07,
    "pneumothorax": 0.08,
    "wide_mediastinum": 0.02,
}

CHEXPERT_NAMES = {
    "atelectasis": ("Atelectasis", "Lung Opacity"),
    "cardiomegaly": ("Cardiomegaly",),
    "consolidation": ("Consolidation", "Lung Opacity"),
    "devices": ("Support Devices",),
    "edema": ("Edema", "Lung Opacity"),
    "effusion": ("Pleural Effusion",),
    "fracture": ("Fracture",),
    "infiltration": ("Lung Opacity",),
    "mass": ("Lung Lesion", "Lung Opacity"),
    "nodule": ("Lung Lesion", "Lung Opacity"),
    "pleural_thickening": ("Pleural Other",),
    "pneumonia": ("Pneumonia", "Lung Opacity"),
    "pneumothorax": ("Pneumothorax",),
    "wide_mediastinum": ("Enlarged Cardiomediastinum",),
}
"""Labels of each finding in CheXpert and MIMIC-CXR; Lung Opacity is the parent of five others, as in CheXpert."""

CHESTXRAY14_NAMES = {
    "atelectasis": "Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "consolidation": "Consolidation",
    "edema": "Edema",
    "effusion": "Effusion",
    "emphysema": "Emphysema",
    "fibrosis": "Fibrosis",
    "hernia": "Hernia",
    "infiltration": "Infiltration",
    "mass": "Mass",
    "nodule": "Nodule",
    "pleural_thickening": "Pleural_Thickening",
    "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax",
}

_MILDEST = 0.2


@dataclass(frozen=True)
class Finding:
    """One finding of one study: ``severity`` in 0.2..1, ``key`` seeds its details, ``side`` is -1 or 1."""

    name: str
    severity: float
    key: int
    side: int


Case = tuple[Finding, ...]


def draw_case(rng: np.random.Generator, prevalence: Mapping[str, float]) -> Case:
    """Draw the findings of a study independently of each other."""
    chance = np.array([prevalence[name] for name in FINDINGS])
    present = rng.random(len(FINDINGS)) < chance
    severity = _MILDEST + (1 - _MILDEST) * rng.random(len(FINDINGS))
    keys = rng.integers(2**63, size=len(FINDINGS))
    sides = rng.integers(2, size=len(FINDINGS)) * 2 - 1
    return tuple(
        Finding(FINDINGS[i], float(severity[i]), int(keys[i]), int(sides[i])) for i in np.flatnonzero(present)
    )
