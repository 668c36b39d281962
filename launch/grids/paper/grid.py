"""The paper's grid: 3 prerequisites, 128 beta-search runs and 63 x 3 repetitions.

Tables 2, 3 and 5: every training size and initialisation x {transfer learning of all or the last 34 layers of
DenseNet-121 or of DenseNet-40; attention transfer from the ImageNet or the MIMIC-CXR teacher to either student}.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Literal

from harness.config import (
    NETWORKS,
    AttentionTransfer,
    BetaSearch,
    DataConfig,
    NetworkConfig,
    Objective,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    chexclusion,
)
from launch.grids.grid import Grid, GridRun

Source = Literal["imagenet", "chestxray14", "mimic_cxr"]

REPETITIONS = 3
NETWORK_NAMES = ("densenet121", "densenet40")
STUDENTS: tuple[tuple[str, str], ...] = (
    ("densenet121", "all"),
    ("densenet121", "last34"),
    ("densenet40", "all"),
)
"""What transfer learning trains; attention transfer always trains all layers."""
SHORT = {name: NETWORKS[name].short_name for name in NETWORK_NAMES}
TEACHERS: tuple[Source, ...] = ("imagenet", "mimic_cxr")
TRAIN_SIZES = {
    "1k": DataConfig(dataset="chexpert", subset="1k"),
    "5k": DataConfig(dataset="chexpert", subset="5k"),
    "50k": DataConfig(dataset="chexpert", subset="50k"),
    "178k": DataConfig(dataset="chexpert"),
    "5.6k": DataConfig(dataset="chestxray14_5.6k"),
}
"""Training sizes by the name that the paper prints; 178k is all of CheXpert's training split."""
BETA_POINTS = tuple(round(2000.0 ** (i / 7), 3) for i in range(8))
"""Eight log-spaced betas in the paper's range of 1 to 2000, rounded so that they, and the hashes of the runs that
hold them, are the same on every machine."""
SEARCH_SIZE = {"1k": "1k", "5k": "5k", "50k": "50k", "178k": "50k", "5.6k": "5.6k"}
"""Training size at which a size's beta is searched: 32 runs on all of CheXpert would cost more than all the rest."""


def paper_grid() -> Grid:
    """Build the grid as the printed tables list it; each repetition holds the search that chooses its beta."""
    return Grid(name="paper", runs=(*_prerequisites(), *_searches(), *_repetitions()))


@cache
def pretraining(network: str) -> RunConfig:
    """Return ChestX-ray14 pre-training, itself from ImageNet weights: P1 (DenseNet-121) and P2 (DenseNet-40)."""
    return RunConfig(data=DataConfig(dataset="chestxray14"), network=NetworkConfig(name=network))


@cache
def mimic_teacher() -> RunConfig:
    """Return the config of the MIMIC-CXR teacher, trained as CheXclusion's public code does: P3."""
    return RunConfig(data=DataConfig(dataset="mimic_cxr"), schedule=chexclusion())


def initial_weights(source: Source, network: str) -> Weights:
    """Return the weights that a student of this architecture starts from."""
    return Weights() if source == "imagenet" else Weights(kind="run", run=pretraining(network))


def teacher_weights(source: Source) -> Weights:
    """Return torchvision's ImageNet weights as they are, or the MIMIC-CXR teacher."""
    return Weights() if source == "imagenet" else Weights(kind="run", run=mimic_teacher())


@cache
def beta_search(size: str, teacher: Source, network: str) -> BetaSearch:
    """Return the search shared by both initialisations: seed 0, from ImageNet weights."""
    template = RunConfig(
        data=TRAIN_SIZES[SEARCH_SIZE[size]],
        network=NetworkConfig(name=network),
        objective=AttentionTransfer(teacher=teacher_weights(teacher)),
        schedule=Schedule(),
    )
    return BetaSearch(template=template, points=BETA_POINTS)


def _prerequisites() -> Iterator[GridRun]:
    for network in NETWORK_NAMES:
        name = f"pretrain_chestxray14_{SHORT[network]}"
        yield GridRun(name=name, kind="prerequisite", config=pretraining(network))
    yield GridRun(name="teacher_mimic_d121", kind="prerequisite", config=mimic_teacher())


def _searches() -> Iterator[GridRun]:
    for size in dict.fromkeys(SEARCH_SIZE.values()):
        for teacher in TEACHERS:
            for network in NETWORK_NAMES:
                name = f"search_{_dataset(size)}_{size}_at-{_stem(teacher)}_{SHORT[network]}"
                search = beta_search(size, teacher, network)
                for beta, config in zip(search.points, search.runs, strict=True):
                    yield GridRun(name=f"{name}_beta{beta:g}", kind="search", config=config)


def _repetitions() -> Iterator[GridRun]:
    for size in TRAIN_SIZES:
        inits: tuple[Source, ...] = ("imagenet",) if size == "5.6k" else ("chestxray14", "imagenet")
        for init in inits:
            for network, scope in STUDENTS:
                yield from _repeat(size, init, None, network, scope)
            for teacher in TEACHERS:
                for network in NETWORK_NAMES:
                    yield from _repeat(size, init, teacher, network, "all")


def _repeat(size: str, init: Source, teacher: Source | None, network: str, scope: str) -> Iterator[GridRun]:
    objective: Objective = TransferLearning()
    if teacher is not None:
        objective = AttentionTransfer(teacher=teacher_weights(teacher), beta=beta_search(size, teacher, network))
    config = RunConfig(
        data=TRAIN_SIZES[size],
        network=NetworkConfig(name=network, scope=scope),
        init=initial_weights(init, network),
        objective=objective,
    )
    method = "tl" if teacher is None else f"at-{_stem(teacher)}"
    suffix = "" if scope == "all" else f"_{scope}"
    name = f"{_dataset(size)}_{size}_{init}_{method}_{SHORT[network]}{suffix}"
    for seed in range(REPETITIONS):
        yield GridRun(
            name=f"{name}_r{seed}",
            kind="repetition",
            config=dataclasses.replace(config, seed=seed),
            cells=_tables(size, teacher, network),
        )


def _tables(size: str, teacher: Source | None, network: str) -> tuple[str, ...]:
    if size == "5.6k":
        return ("5",)
    table_2 = () if teacher == "imagenet" else ("2a" if network == "densenet121" else "2b",)
    return table_2 if teacher is None else (*table_2, "3")


def _dataset(size: str) -> str:
    """Return the name of the dataset in the printed tables, which call the sample ChestX-ray14 of size 5.6k."""
    return TRAIN_SIZES[size].dataset.removesuffix("_5.6k")


def _stem(source: Source) -> str:
    return source.removesuffix("_cxr")
