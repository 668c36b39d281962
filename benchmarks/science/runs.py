"""The runs of the science checks: the paper's design in small.

DenseNet-40 students of three training sizes by transfer learning, by attention transfer from a teacher of their own
domain and from an unrelated one; and the searches over beta, by role and teacher. ``grid()`` gives all of them to
``cxr grid submit benchmarks/science/runs.py``.
"""

from __future__ import annotations

from typing import Literal

from benchmarks.science.data import PATTERN_DATASET, SIZE
from harness.config import (
    AttentionTransfer,
    BetaRole,
    BetaSearch,
    DataConfig,
    NetworkConfig,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
)
from launch.grids.grid import Grid, GridRun
from launch.grids.paper import BETA_POINTS

Method = Literal["transfer_learning", "in_domain", "unrelated"]
TeacherName = Literal["in_domain", "unrelated"]
TITLES: dict[Method, str] = {
    "transfer_learning": "transfer learning",
    "in_domain": "attention transfer, in-domain teacher",
    "unrelated": "attention transfer, unrelated teacher",
}
METHODS = tuple(TITLES)
TEACHERS: tuple[TeacherName, ...] = ("in_domain", "unrelated")
EPOCHS = {100: 40, 300: 16, 1000: 6}
"""Training size to epochs: about as many optimiser steps for each."""
SEEDS = (0, 1, 2)
SEARCH_SIZE = 100
"""Training images of a beta search, whose result holds for every size."""
UNRELATED_POINTS = BETA_POINTS[::2] + BETA_POINTS[-1:]
SWEEPS: dict[tuple[TeacherName, BetaRole], tuple[float, ...]] = {
    ("in_domain", "divide"): BETA_POINTS,
    ("in_domain", "multiply"): BETA_POINTS,
    ("unrelated", "divide"): UNRELATED_POINTS,
}
"""Teacher and role of beta to the betas tried; validation AUROC chooses among the ``divide`` ones."""
LEARNING_RATE, BATCH_SIZE, ROTATION_DEG, FLIP_PROBABILITY = 1e-3, 32, 10.0, 0.5
VALIDATIONS = 8
"""Validations of a student's run, about."""


def schedule(epochs: int) -> Schedule:
    """Adam, its rate halved after each third of the epochs."""
    return Schedule(
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        halve_every=-(-epochs // 3),
        validate_every=max(1, epochs // VALIDATIONS),
    )


def _data(dataset: str, subset: str = "full") -> DataConfig:
    return DataConfig(
        dataset=dataset,
        subset=subset,
        image_size=SIZE,
        rotation_deg=ROTATION_DEG,
        flip_probability=FLIP_PROBABILITY,
    )


def teacher(name: TeacherName) -> RunConfig:
    """DenseNet-121 from random weights: on phantoms in the layout of MIMIC-CXR, or on the patterns.

    A grating's orientation is its label, so patterns are neither mirrored nor rotated.
    """
    if name == "in_domain":
        return RunConfig(data=_data("mimic_cxr"), init=Weights(kind="none"), schedule=schedule(8))
    data = DataConfig(dataset=PATTERN_DATASET, image_size=SIZE, rotation_deg=0.0, flip_probability=0.0)
    return RunConfig(data=data, init=Weights(kind="none"), schedule=schedule(6))


def pretraining() -> RunConfig:
    """DenseNet-40 on few phantoms in the layout of ChestX-ray14: where every student starts."""
    network = NetworkConfig(name="densenet40")
    return RunConfig(data=_data("chestxray14"), network=network, init=Weights(kind="none"), schedule=schedule(6))


def student(size: int, objective: AttentionTransfer | TransferLearning, seed: int = 0) -> RunConfig:
    """DenseNet-40 on ``size`` phantoms in the layout of CheXpert."""
    return RunConfig(
        data=_data("chexpert", str(size)),
        network=NetworkConfig(name="densenet40"),
        init=Weights(kind="run", run=pretraining()),
        objective=objective,
        schedule=schedule(EPOCHS[size]),
        seed=seed,
    )


def search(name: TeacherName, role: BetaRole) -> BetaSearch:
    """The search over beta with that teacher and role."""
    objective = AttentionTransfer(teacher=Weights(kind="run", run=teacher(name)), beta_role=role)
    return BetaSearch(template=student(SEARCH_SIZE, objective), points=SWEEPS[name, role])


def swept() -> dict[tuple[TeacherName, BetaRole, float], RunConfig]:
    """Every run of every search."""
    return {
        (name, role, beta): config
        for name, role in SWEEPS
        for beta, config in zip(search(name, role).points, search(name, role).runs, strict=True)
    }


def students() -> dict[tuple[Method, int, int], RunConfig]:
    """Runs by method, training size and seed; attention transfer with the beta that its search chooses."""
    found: dict[tuple[Method, int, int], RunConfig] = {}
    for seed in SEEDS:
        for size in EPOCHS:
            for method in METHODS:
                objective: AttentionTransfer | TransferLearning = TransferLearning()
                if method != "transfer_learning":
                    weights = Weights(kind="run", run=teacher(method))
                    objective = AttentionTransfer(teacher=weights, beta=search(method, "divide"))
                found[method, size, seed] = student(size, objective, seed)
    return found


def grid() -> Grid:
    """All runs, each after those that it needs."""
    needs = {"teacher_in_domain": teacher("in_domain"), "teacher_unrelated": teacher("unrelated")}
    runs = [GridRun(name=name, kind="prerequisite", config=config) for name, config in needs.items()]
    runs.append(GridRun(name="pretraining", kind="prerequisite", config=pretraining()))
    for (name, role, beta), config in swept().items():
        runs.append(GridRun(name=f"search_{name}_{role}_beta{beta:g}", kind="search", config=config))
    for (method, size, seed), config in students().items():
        runs.append(GridRun(name=f"{size}_{method}_r{seed}", kind="repetition", config=config))
    return Grid(name="science", runs=tuple(runs))
