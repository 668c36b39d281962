"""The paper's grid: 3 prerequisites, 128 beta-search runs and 63 x 3 repetitions, from the rows of its tables.

``paper.csv`` has the prerequisites and each configuration of Tables 2, 3 and 5, with its printed score:
every training size and initialisation x {transfer learning of all or the last 34 layers of DenseNet-121 or of
DenseNet-40; attention transfer from the ImageNet or the MIMIC-CXR teacher to either student}.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.config import (
    AttentionTransfer,
    BetaSearch,
    DataConfig,
    NetworkConfig,
    Objective,
    Pruner,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    chexclusion,
)
from launch.grids.grid import Grid, GridRun

REPETITIONS = 3
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


@dataclass(frozen=True, kw_only=True)
class PaperConfiguration:
    """One row: a prerequisite (P1..P3) or a configuration (R01..R63)."""

    key: str
    """P1..P3, R01..R63."""
    name: str
    dataset: str
    """chexpert, chestxray14 or mimic_cxr."""
    train_size: str
    """1k, 5k, 50k, 178k (all of CheXpert), 5.6k (the ChestX-ray14 sample) or full."""
    init: str
    """imagenet or chestxray14."""
    method: str
    """transfer_learning or attention_transfer."""
    teacher: str
    """none, imagenet or mimic_cxr."""
    student: str
    """densenet121 or densenet40."""
    scope: str
    """all or last34."""
    trainable_params: int
    tables: tuple[str, ...]
    """Tables that print the configuration, in all 79 cells; empty for a prerequisite."""
    auc: float
    """Printed mean test AUROC in percent; NaN for a prerequisite."""
    ci: float
    """Printed half width of the 95 % confidence interval in percentage points."""
    depends_on: tuple[str, ...]
    """Keys of the prerequisites whose weights the configuration starts from or imitates."""


@cache
def paper_configurations() -> tuple[PaperConfiguration, ...]:
    """Return P1..P3 and R01..R63 in the order of the file, which within a table is the printed one."""
    with Path(__file__).with_name("paper.csv").open(newline="", encoding="utf-8") as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    for row in rows:
        row["trainable_params"] = int(row["trainable_params"])
        row |= {name: float(row[name] or "nan") for name in ("auc", "ci")}
        row |= {name: tuple(row[name].split("+")) if row[name] else () for name in ("tables", "depends_on")}
    return tuple(PaperConfiguration(**row) for row in rows)


def printed_cells() -> dict[str, dict[str, Any]]:
    """Return row, mean AUROC and half width of its interval, in percent, by a configuration's name."""
    rows = [row for row in paper_configurations() if row.tables]
    return {row.name: {"row": row.key, "auc": row.auc, "ci": row.ci} for row in rows}


def halving_grid() -> Grid:
    """Build the grid with beta searches that stop the worse points early, which is not the paper's way."""
    return paper_grid("halving")


def paper_grid(pruner: Pruner = "none") -> Grid:
    """Build the grid as the printed tables list it; each repetition holds the search that chooses its beta."""
    prerequisites: list[GridRun] = []
    searches: dict[str, GridRun] = {}
    repetitions: list[GridRun] = []
    for row in paper_configurations():
        if not row.tables:
            config = trained(row.dataset, row.student)
            prerequisites.append(GridRun(name=row.name, kind="prerequisite", config=config))
            continue
        config = _config(row, pruner)
        if isinstance(config.objective, AttentionTransfer):
            stem = row.name.replace(f"{row.train_size}_{row.init}", search_size(row.train_size))
            search = beta_search(search_size(row.train_size), row.teacher, row.student, pruner)
            for words, point in search.named_runs().items():
                name = f"search_{stem}_{words}"
                searches[name] = GridRun(name=name, kind="search", config=point)
        for seed in range(REPETITIONS):
            name, own = f"{row.name}_r{seed}", dataclasses.replace(config, seed=seed)
            repetitions.append(GridRun(name=name, kind="repetition", config=own, cells=row.tables))
    return Grid(
        name="paper" if pruner == "none" else "paper-halving", runs=(*prerequisites, *searches.values(), *repetitions)
    )


@cache
def trained(dataset: str, network: str) -> RunConfig:
    """Return a prerequisite: ChestX-ray14 pre-training, or the MIMIC-CXR teacher as CheXclusion's code trains it."""
    schedule = chexclusion() if dataset == "mimic_cxr" else Schedule()
    return RunConfig(data=DataConfig(dataset=dataset), network=NetworkConfig(name=network), schedule=schedule)


def weights_of(source: str, network: str) -> Weights:
    """Return torchvision's ImageNet weights, or those of the network that was trained on this dataset."""
    return Weights() if source == "imagenet" else Weights(kind="run", run=trained(source, network))


def search_size(size: str) -> str:
    """Return the size at which beta is searched: 32 runs on all of CheXpert would cost more than all the rest."""
    return "50k" if size == "178k" else size


@cache
def beta_search(size: str, teacher: str, network: str, pruner: Pruner = "none") -> BetaSearch:
    """Return the search shared by both initialisations: seed 0, from ImageNet weights."""
    template = RunConfig(
        data=TRAIN_SIZES[size],
        network=NetworkConfig(name=network),
        objective=AttentionTransfer(teacher=weights_of(teacher, "densenet121")),
    )
    return BetaSearch(template=template, points=BETA_POINTS, pruner=pruner)


def _config(row: PaperConfiguration, pruner: Pruner) -> RunConfig:
    """Return a configuration with seed 0."""
    objective: Objective = TransferLearning()
    if row.teacher != "none":
        search = beta_search(search_size(row.train_size), row.teacher, row.student, pruner)
        objective = AttentionTransfer(teacher=weights_of(row.teacher, "densenet121"), beta=search)
    return RunConfig(
        data=TRAIN_SIZES[row.train_size],
        network=NetworkConfig(name=row.student, scope=row.scope),
        init=weights_of(row.init, row.student),
        objective=objective,
    )
