"""Reckon the smallest difference in AUROC that the runs of a grid can show, before they are trained.

A cell is compared with another of as many repetitions on the same test split, by the interval over seeds and patients
of the report (``launch.report.statistics.sources``). What the difference varies by is reckoned from the number of
patients and of positives of the test split, an assumed AUROC and an assumed correlation of the two methods' estimates
(Hanley and McNeil, Radiology 143 (1982), 29-36, and 148 (1983), 839-843), and from the spread of seeds.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from datasets.errors import InputError
from datasets.sources.registry import beton_files, beton_of
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.grids.grid import GridRun
from launch.ranges import Amount, Range

POINTS = 100.0
LEVEL, POWER = 0.05, 0.8
STUDIES = 20_000
"""Drawn to reckon a power."""
SD_SEEDS = 0.3
"""In points, where no finished run tells. The paper's printed intervals mean 0.1 for its CheXpert cells, as a median,
and 0.8 for those trained on 5,600 images."""

Correlation = Annotated[float, Range("0 or more, and less than 1", lambda value: 0 <= value < 1)]


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not known before the runs are trained."""

    sd_seeds: Amount | None = None
    """Standard deviation of the mean AUROC between repetitions, in points; by default that of finished runs in
    RUNS_DIR on the same training images, else 0.3."""
    auroc: Annotated[float, Range("0.5 or more, and less than 1", lambda value: 0.5 <= value < 1)] = 0.8
    """AUROC of every label."""
    correlation: Correlation = 0.8
    """Correlation of the two methods' AUROC estimates over patients: that of networks whose scores correlate by 0.83
    among the positives and among the negatives."""
    label_correlation: Correlation = 0.3
    """Correlation of the differences of two labels."""


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Counts of a test split."""

    images: int
    patients: int
    positives: Mapping[str, int]
    """Positive images by label, of the labels that have both classes."""
    negatives: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CellPower:
    """A cell of the grid with what it can show; deviations and differences in points of AUROC."""

    name: str
    """The runs' name without the number of the repetition."""
    config: RunConfig
    repetitions: int
    split: SplitCounts
    sd_seeds: float
    """Between repetitions, of the mean over the labels."""
    seeds_from: int
    """Finished runs that ``sd_seeds`` was measured on; 0 where it is assumed."""
    sd_patients: float
    """Of the difference of the means over the labels."""
    mean: float
    """The smallest difference of the means over the labels that is shown with a power of 0.8."""
    labels: Mapping[str, float]
    """The same by label, at the level of Holm's first step: 0.05 divided by the number of labels."""


def count_test_split(beton: Path) -> SplitCounts:
    """Count what the test split of a beton holds.

    Raises:
        InputError: when the beton cannot be opened, has no test split, or no label with both classes there.
    """
    from datasets.beton.mixed import open_beton

    opened = open_beton(beton)
    chosen = opened.indices("test")
    targets = opened.targets[chosen]
    counts = [dict(zip(opened.labels, (targets == value).sum(axis=0).tolist(), strict=True)) for value in (1, 0)]
    both = [label for label in opened.labels if all(count[label] for count in counts)]
    if not both:
        raise InputError(f"{beton}: no label has both classes in its test split")
    positives, negatives = ({label: count[label] for label in both} for count in counts)
    patients = opened.count_patients(chosen)
    return SplitCounts(images=len(chosen), patients=patients, positives=positives, negatives=negatives)


def auroc_variance(auroc: float, positives: float, negatives: float) -> float:
    """Variance of an AUROC estimated from so many independent positives and negatives.

    Hanley and McNeil's formula, with the two probabilities in it those of normal scores of equal variance in place of
    their exponential ones, which for few positives among many negatives make the deviation up to a fifth too large.
    """
    from scipy.special import ndtri, owens_t

    apart = ndtri(auroc)
    both = auroc - 2 * owens_t(apart, math.sqrt(1 / 3))  # two positives above one negative, or one above two
    shares = (positives + negatives - 2) * (both - auroc**2)
    return float((auroc * (1 - auroc) + shares) / (positives * negatives))


@lru_cache(maxsize=4096)
def smallest_difference(sd_patients: float, sd_seeds: float, repetitions: int, level: float = LEVEL) -> float:
    """The difference of two methods that is shown with a power of 0.8, in the unit of the deviations.

    A study shows it where its estimate exceeds half its interval (``sources.mixed_interval``: Student's t with Welch
    and Satterthwaite's degrees of freedom), whose width depends on the spread of seeds that it happens to find; so
    both are drawn for many studies, always the same ones. One repetition tells nothing of seeds: the normal quantile
    then stands for a spread that is known from elsewhere.

    Args:
        sd_patients: standard deviation of the difference by patients, repetitions averaged.
        sd_seeds: standard deviation of one method's score between repetitions.
        repetitions: of each of the two methods.
        level: two-sided level of the test.
    """
    import numpy as np
    from scipy.special import ndtri, stdtrit

    share = sd_seeds**2 / repetitions
    variance = sd_patients**2 + 2 * share
    if repetitions < 2 or share == 0.0:
        return float(ndtri(1 - level / 2) + ndtri(POWER)) * math.sqrt(variance)
    generator, freedom = np.random.default_rng(0), repetitions - 1
    errors = math.sqrt(variance) * generator.standard_normal(STUDIES)
    shares = share * generator.chisquare(freedom, (2, STUDIES)) / freedom
    found = sd_patients**2 + shares.sum(axis=0)
    degrees = freedom * found**2 / (shares**2).sum(axis=0)
    return float(np.quantile(stdtrit(degrees, 1 - level / 2) * np.sqrt(found) - errors, POWER))


def cell_power(
    name: str, runs: Sequence[GridRun], split: SplitCounts, assumed: Assumptions, seeds: tuple[float, int]
) -> CellPower:
    """What the repetitions of one configuration can show against as many of another; ``seeds`` as in CellPower.

    Images of one patient count as one, since they resemble each other: the counts are scaled to the patients.
    """
    number, scale = len(split.positives), split.patients / split.images
    by_label = {
        label: math.sqrt(2 * (1 - assumed.correlation) * auroc_variance(assumed.auroc, *_scaled(split, label, scale)))
        for label in split.positives
    }
    rho, total = assumed.label_correlation, sum(by_label.values())
    squares = sum(value**2 for value in by_label.values())
    sd_patients = math.sqrt((1 - rho) * squares + rho * total**2) / number
    sd_seeds = seeds[0] / POINTS
    of_a_label = sd_seeds * math.sqrt(number / (1 + (number - 1) * rho))  # whose mean then varies by sd_seeds
    return CellPower(
        name=name,
        config=runs[0].config,
        repetitions=len(runs),
        split=split,
        sd_seeds=seeds[0],
        seeds_from=seeds[1],
        sd_patients=POINTS * sd_patients,
        mean=POINTS * smallest_difference(sd_patients, sd_seeds, len(runs)),
        labels={
            label: POINTS * smallest_difference(deviation, of_a_label, len(runs), LEVEL / number)
            for label, deviation in by_label.items()
        },
    )


def _scaled(split: SplitCounts, label: str, scale: float) -> tuple[float, float]:
    """Positives and negatives of a label among the patients, one of each at least."""
    return max(1.0, scale * split.positives[label]), max(1.0, scale * split.negatives[label])


def grid_power(
    runs: Iterable[GridRun], data_dir: Path, runs_dir: Path, assumed: Assumptions
) -> tuple[tuple[CellPower, ...], tuple[str, ...]]:
    """What each cell of a grid can show, in its order, and the datasets without a beton, whose cells are left out.

    Raises:
        InputError: for a beton that is there and cannot be read, and a dataset that is not known.
    """
    repetitions = [run for run in runs if run.kind == "repetition"]
    datasets = dict.fromkeys(run.config.data.dataset for run in repetitions)
    paths = {dataset: beton_of(dataset, data_dir) for dataset in datasets}
    there = {name: path for name, path in paths.items() if all(file.exists() for file in beton_files(path))}
    splits = {dataset: count_test_split(path) for dataset, path in there.items()}
    cells: dict[str, list[GridRun]] = defaultdict(list)
    for run in repetitions:
        if run.config.data.dataset in splits:
            cells[dataclasses.replace(run.config, seed=0).hash].append(run)
    measured = _measured(cells.values(), runs_dir) if assumed.sd_seeds is None else {}
    found = []
    for members in cells.values():
        data = members[0].config.data
        otherwise = (SD_SEEDS if assumed.sd_seeds is None else assumed.sd_seeds, 0)
        name = re.sub(r"_r\d+$", "", members[0].name)
        seeds = measured.get((data.dataset, data.subset), otherwise)
        found.append(cell_power(name, members, splits[data.dataset], assumed, seeds))
    return tuple(found), tuple(dataset for dataset in datasets if dataset not in splits)


def _measured(cells: Iterable[Sequence[GridRun]], runs_dir: Path) -> dict[tuple[str, str], tuple[float, int]]:
    """Standard deviation of the mean AUROC between repetitions in points, pooled over the cells of one training set.

    By dataset and subset, with the number of finished runs that it rests on; a cell with one tells nothing.
    """
    squares: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for members in cells:
        scores = [score for run in members if (score := _score(runs_dir / run.run_id)) is not None]
        if len(scores) > 1:
            mean = sum(scores) / len(scores)
            data = members[0].config.data
            squares[data.dataset, data.subset].append((sum((score - mean) ** 2 for score in scores), len(scores)))
    return {
        key: (
            POINTS * math.sqrt(sum(sum_ for sum_, _ in found) / sum(n - 1 for _, n in found)),
            sum(n for _, n in found),
        )
        for key, found in squares.items()
    }


def _score(folder: Path) -> float | None:
    """The mean test AUROC of a finished run; None of any other, and of one whose files cannot be read."""
    try:
        result = RunFolder(folder).result()
    except InputError:
        return None
    score = None if result is None else (result.get("test") or {}).get("mean_auroc")
    return None if score is None else float(score)
