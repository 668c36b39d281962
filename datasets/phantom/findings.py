"""Draw what a phantom patient suffers from: a case of findings with severities.

A finding is one visual trace. The same traces are drawn for every dataset; datasets differ in how often a finding
occurs, in what they call it, and in whether they name it at all. An unnamed finding is seen but not labelled, like a
pacemaker in ChestX-ray14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class _Kind(NamedTuple):
    """How often a finding occurs in a newly drawn case, and what the tables call it.

    The probabilities follow the real tables (CheXpert: Edema 0.23, Pleural Effusion 0.39, Support Devices 0.52;
    ChestX-ray14: Infiltration 0.18, Effusion 0.12) except that what is rare there (Pleural Other 0.016, Pneumonia
    0.027, Hernia 0.002 ...) is lifted to at least 0.06, so that a few hundred images hold positives of every label.
    """

    chexpert: float
    chestxray14: float
    chexpert_labels: tuple[str, ...] = ()
    """In CheXpert and MIMIC-CXR; Lung Opacity is the parent of five others, as in CheXpert."""
    chestxray14_label: str = ""


_KINDS = {
    "atelectasis": _Kind(0.15, 0.11, ("Atelectasis", "Lung Opacity"), "Atelectasis"),
    "cardiomegaly": _Kind(0.13, 0.07, ("Cardiomegaly",), "Cardiomegaly"),
    "consolidation": _Kind(0.09, 0.07, ("Consolidation", "Lung Opacity"), "Consolidation"),
    "devices": _Kind(0.48, 0.08, ("Support Devices",)),
    "edema": _Kind(0.20, 0.07, ("Edema", "Lung Opacity"), "Edema"),
    "effusion": _Kind(0.33, 0.13, ("Pleural Effusion",), "Effusion"),
    "emphysema": _Kind(0.02, 0.07, (), "Emphysema"),
    "fibrosis": _Kind(0.02, 0.07, (), "Fibrosis"),
    "fracture": _Kind(0.10, 0.02, ("Fracture",)),
    "hernia": _Kind(0.02, 0.06, (), "Hernia"),
    "infiltration": _Kind(0.06, 0.16, ("Lung Opacity",), "Infiltration"),
    "mass": _Kind(0.06, 0.08, ("Lung Lesion", "Lung Opacity"), "Mass"),
    "nodule": _Kind(0.06, 0.08, ("Lung Lesion", "Lung Opacity"), "Nodule"),
    "pleural_thickening": _Kind(0.09, 0.07, ("Pleural Other",), "Pleural_Thickening"),
    "pneumonia": _Kind(0.09, 0.07, ("Pneumonia", "Lung Opacity"), "Pneumonia"),
    "pneumothorax": _Kind(0.10, 0.08, ("Pneumothorax",), "Pneumothorax"),
    "wide_mediastinum": _Kind(0.10, 0.02, ("Enlarged Cardiomediastinum",)),
}

FINDINGS = tuple(_KINDS)
CHEXPERT_PREVALENCE = {name: kind.chexpert for name, kind in _KINDS.items()}
CHESTXRAY14_PREVALENCE = {name: kind.chestxray14 for name, kind in _KINDS.items()}
CHEXPERT_NAMES = {name: kind.chexpert_labels for name, kind in _KINDS.items() if kind.chexpert_labels}
CHESTXRAY14_NAMES = {name: kind.chestxray14_label for name, kind in _KINDS.items() if kind.chestxray14_label}

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
