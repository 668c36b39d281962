"""Draw patients: who is imaged and how often, with what body, and with which findings.

Every number drawn is a function of (seed, dataset, patient) alone, so that any process may draw any patient. Measures
are in thorax units (``canvas``). A finding is one visual trace, the same in every dataset; datasets differ in how
often it occurs and in what they call it. One without a name is seen, but not labelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datasets.files import parse_as, read_toml

View = Literal["AP", "PA", "LATERAL"]
_PERSISTENCE = 0.6
"""Chance that a study shows what the one before it did."""


class Kind(NamedTuple):
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


KINDS = {
    "atelectasis": Kind(0.15, 0.11, ("Atelectasis", "Lung Opacity"), "Atelectasis"),
    "cardiomegaly": Kind(0.13, 0.07, ("Cardiomegaly",), "Cardiomegaly"),
    "consolidation": Kind(0.09, 0.07, ("Consolidation", "Lung Opacity"), "Consolidation"),
    "devices": Kind(0.48, 0.08, ("Support Devices",)),
    "edema": Kind(0.20, 0.07, ("Edema", "Lung Opacity"), "Edema"),
    "effusion": Kind(0.33, 0.13, ("Pleural Effusion",), "Effusion"),
    "emphysema": Kind(0.02, 0.07, (), "Emphysema"),
    "fibrosis": Kind(0.02, 0.07, (), "Fibrosis"),
    "fracture": Kind(0.10, 0.02, ("Fracture",)),
    "hernia": Kind(0.02, 0.06, (), "Hernia"),
    "infiltration": Kind(0.06, 0.16, ("Lung Opacity",), "Infiltration"),
    "mass": Kind(0.06, 0.08, ("Lung Lesion", "Lung Opacity"), "Mass"),
    "nodule": Kind(0.06, 0.08, ("Lung Lesion", "Lung Opacity"), "Nodule"),
    "pleural_thickening": Kind(0.09, 0.07, ("Pleural Other",), "Pleural_Thickening"),
    "pneumonia": Kind(0.09, 0.07, ("Pneumonia", "Lung Opacity"), "Pneumonia"),
    "pneumothorax": Kind(0.10, 0.08, ("Pneumothorax",), "Pneumothorax"),
    "wide_mediastinum": Kind(0.10, 0.02, ("Enlarged Cardiomediastinum",)),
}

FINDINGS = tuple(KINDS)
_MILDEST = 0.2


@dataclass(frozen=True)
class Finding:
    """One finding of one study: ``severity`` in 0.2..1, ``key`` seeds its details, ``side`` is -1 or 1."""

    name: str
    severity: float
    key: int
    side: int

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]


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


class Anatomy:
    """One patient's measures, drawn healthy."""

    def __init__(self, rng: np.random.Generator) -> None:
        size = rng.normal(1.0, 0.04)
        dome = rng.normal(0.42, 0.05)
        self.sex = "Female" if rng.random() < 0.46 else "Male"
        self.lung_centre = 0.40 * size
        self.lung_width = rng.normal(0.325, 0.014) * size
        self.apex = rng.normal(-0.74, 0.03)
        # Heights v of the diaphragm's top, (image left, image right), and how far it falls from there to the wall.
        self.domes = (dome - rng.uniform(0.0, 0.05), dome + rng.uniform(0.0, 0.05))
        self.dome_depth = rng.uniform(0.13, 0.22)
        self.heart_width = rng.normal(0.275, 0.014) * size
        self.heart_height = rng.normal(0.29, 0.015)
        self.heart_shift = rng.normal(0.09, 0.015)
        self.mediastinum = rng.normal(0.105, 0.010)  # half width of its upper part
        self.spine_bend = rng.normal(0.0, 0.025)
        self.rib_spacing = rng.normal(0.185, 0.012)
        self.rib_phase = rng.random()
        self.rib_strength = rng.uniform(0.7, 1.2)
        self.fat = rng.beta(2, 3)  # soft tissue in front of the lungs, 0 (lean) to 1
        self.aeration = rng.normal(1.0, 0.06)  # air in the lungs; 1 is normal, more is darker
        self.vessels = rng.uniform(0.8, 1.2)
        self.haze = rng.uniform(0.0, 0.05)  # density around the hila that is normal for this patient
        self.key = int(rng.integers(2**63))  # seeds the vessel tree

    @property
    def dome(self) -> float:
        """Height v of the diaphragm between its two tops."""
        return sum(self.domes) / 2


def afflict(anatomy: Anatomy, case: Case) -> Anatomy:
    """The measures after those findings that change the body's shape rather than add something to it."""
    body = copy(anatomy)
    for finding in case:
        s, (left, right) = finding.severity, body.domes
        if finding.name == "cardiomegaly":
            body.heart_width *= 1.13 + 0.35 * s
            body.heart_height *= 1.03 + 0.10 * s
            body.heart_shift += 0.02 * s
        elif finding.name == "wide_mediastinum":
            body.mediastinum *= 1.25 + 0.60 * s
        elif finding.name == "emphysema":
            body.aeration = body.aeration + 0.06 + 0.20 * s
            body.domes = (left + 0.04 + 0.09 * s, right + 0.04 + 0.09 * s)
            body.dome_depth *= 0.6 - 0.35 * s
            body.heart_width *= 0.95 - 0.10 * s
            body.vessels *= 0.85 - 0.35 * s
        elif finding.name == "fibrosis":
            body.domes = (left - 0.03 - 0.04 * s, right - 0.03 - 0.04 * s)
        elif finding.name == "atelectasis":
            rise = 0.04 + 0.08 * s
            body.domes = (left - rise, right) if finding.side < 0 else (left, right - rise)
    return body


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What tells one dataset's patients and pictures from another's."""

    stream: int
    """Number of its stream of random numbers; a dataset keeps its own for ever."""
    num_studies: tuple[float, ...]
    """Probability of one study, two studies, ..."""
    ap: float
    """Chance that a study is taken at the bed (AP)."""
    lateral: float
    """Chance that a PA study has a lateral picture too."""
    second: float
    """Chance of a second frontal picture."""
    prevalence: Mapping[str, float]
    """Probability of each finding in a newly drawn case."""
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


def read_profile(dataset: str, prevalence: Mapping[str, float]) -> Profile:
    """The profile of a dataset in ``profiles.toml``."""
    path = Path(__file__).with_name("profiles.toml")
    return parse_as(Profile, {**read_toml(path)[dataset], "prevalence": prevalence}, where=str(path))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Pictures taken on one day: all show the same findings."""

    case: Case
    views: tuple[View, ...]


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One patient; ``number`` counts from 1 within a dataset, ``age`` in years at the first study."""

    number: int
    age: int
    anatomy: Anatomy
    studies: tuple[Study, ...]


def generator(seed: int, profile: Profile, *place: int) -> np.random.Generator:
    """The random numbers of one place in a dataset: (patient,) or (patient, study, picture)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(profile.stream, *place)))


def draw_patient(seed: int, profile: Profile, number: int) -> Patient:
    """Draw a patient whose findings mostly persist from one study to the next."""
    rng = generator(seed, profile, number)
    anatomy = Anatomy(rng)
    age = int(np.clip(rng.normal(58, 18), 18, 94))
    studies: list[Study] = []
    for _ in range(1 + int(rng.choice(len(profile.num_studies), p=profile.num_studies))):
        case = draw_case(rng, profile.prevalence)
        if studies and rng.random() < _PERSISTENCE:
            case = studies[-1].case
        frontal: View = "AP" if rng.random() < profile.ap else "PA"
        views = [frontal, frontal] if rng.random() < profile.second else [frontal]
        if frontal == "PA" and rng.random() < profile.lateral:
            views.append("LATERAL")
        studies.append(Study(case=case, views=tuple(views)))
    return Patient(number=number, age=age, anatomy=anatomy, studies=tuple(studies))
