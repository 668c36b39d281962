"""Draw patients: who is imaged and how often, with studies and findings.

Every number drawn is a function of (seed, dataset, patient) alone, so that any process may draw any patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datasets.phantom.anatomy import Anatomy, draw_anatomy
from datasets.phantom.findings import Case, draw_case
from datasets.phantom.render import View
from datasets.phantom.style import Style

_PERSISTENCE = 0.6


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a hospital images its patients."""

    num_studies: tuple[float, ...]
    """Probability of one study, two studies, ..."""
    ap: float
    """Chance that a study is taken at the bed (AP)."""
    lateral: float
    """Chance that a PA study has a lateral picture too."""
    second: float
    """Chance of a second frontal picture."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What tells one dataset's patients and pictures from another's."""

    stream: int
    """Number of its stream of random numbers; a dataset keeps its own for ever."""
    habits: Habits
    prevalence: Mapping[str, float]
    """Probability of each finding in a newly drawn case."""
    style: Style


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
    habits = profile.habits
    anatomy = draw_anatomy(rng)
    age = int(np.clip(rng.normal(58, 18), 18, 94))
    studies: list[Study] = []
    for _ in range(1 + int(rng.choice(len(habits.num_studies), p=habits.num_studies))):
        case = draw_case(rng, profile.prevalence)
        if studies and rng.random() < _PERSISTENCE:
            case = studies[-1].case
        studies.append(Study(case=case, views=_draw_views(rng, habits)))
    return Patient(number=number, age=age, anatomy=anatomy, studies=tuple(studies))


def _draw_views(rng: np.random.Generator, habits: Habits) -> tuple[View, ...]:
    frontal: View = "AP" if rng.random() < habits.ap else "PA"
    views: list[View] = [frontal]
    if rng.random() < habits.second:
        views.append(frontal)
    if frontal == "PA" and rng.random() < habits.lateral:
        views.append("LATERAL")
    return tuple(views)
