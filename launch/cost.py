"""How long runs take, relatively: configs and split sizes come in; costs and critical paths go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.config import RunConfig, parse_subset
from launch.grid import GridRun, needs_first

DEFAULT_SPLITS: dict[str, dict[str, int]] = {
    "chexpert": {"train": 178_834, "validation": 22_101},
    "chestxray14": {"train": 90_265, "validation": 11_031},
    "chestxray14_5.6k": {"train": 4_482, "validation": 561},
    "mimic_cxr": {"train": 301_688, "validation": 37_711},
}
"""Images by split when there is no beton to ask: 80 and 10 percent of the published datasets."""
FORWARD = {"densenet121": 1.0, "densenet40": 0.7}
"""Multiply-adds of one forward pass; the layers that DenseNet-40 leaves out of DenseNet-121 hold 30 percent."""
TRAIN_STEP = 3.0
"""A step is one forward and one backward pass, and the latter costs about two forward passes."""


def run_cost(config: RunConfig, splits: Mapping[str, Mapping[str, int]]) -> float:
    """Cost of a run in forward passes of one image through DenseNet-121."""
    dataset = config.data.dataset
    sizes = {**DEFAULT_SPLITS[dataset], **splits.get(dataset, {})}
    asked = parse_subset(config.data.subset)
    images = sizes["train"] if asked is None else min(asked, sizes["train"])
    forward = FORWARD[config.network.name]
    teacher = 0.0 if config.objective.teacher is None else FORWARD["densenet121"]
    return config.schedule.epochs * (images * (TRAIN_STEP * forward + teacher) + sizes["validation"] * forward)


def critical_paths(runs: Sequence[GridRun], splits: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """For each run id the cost of the costliest chain that starts with the run and goes on to those that need it.

    Starting the run with the longest chain first keeps the last runs from waiting for one late prerequisite.
    """
    longest_after: dict[str, float] = {}
    paths: dict[str, float] = {}
    for run in reversed(needs_first(runs)):
        paths[run.run_id] = run_cost(run.config, splits) + longest_after.get(run.run_id, 0.0)
        for need in run.needs:
            longest_after[need] = max(longest_after.get(need, 0.0), paths[run.run_id])
    return paths
