"""Read the scores of the finished runs of the science checks, and compare methods seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.science.runs import EPOCHS, METHODS, SEEDS, TeacherName, students, swept, teacher
from datasets.errors import InputError
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.report.statistics.intervals import summarise


@dataclass(frozen=True, kw_only=True)
class Score:
    """One student: test and best validation mean AUROC in points."""

    method: str
    train_images: int
    seed: int
    test: float
    validation: float
    beta: float | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a search over beta."""

    teacher: str
    role: str
    beta: float
    weight: float
    """Lambda in L = CE + lambda * L_AT."""
    test: float
    validation: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the finished runs say; a run that is not done is not in it."""

    students: tuple[Score, ...]
    sweep: tuple[Point, ...]
    teachers: Mapping[str, float]
    """Test mean AUROC in points of each teacher, on the images of its own kind."""

    @property
    def complete(self) -> bool:
        return len(self.students) == len(METHODS) * len(EPOCHS) * len(SEEDS) and len(self.sweep) == len(swept())


def collect(runs_dir: Path) -> Scores:
    """Read the results below ``runs_dir``.

    Raises:
        InputError: when no student is done.
    """
    results = {key: _result(runs_dir, config) for key, config in students().items()}
    scores = [
        Score(method=method, train_images=size, seed=seed, beta=found["beta"], **_points(found))
        for (method, size, seed), found in results.items()
        if found is not None
    ]
    points = []
    for (name, role, beta), config in swept().items():
        found = _result(runs_dir, config)
        if found is not None:
            weight = found["attention_weight"]
            points.append(Point(teacher=name, role=role, beta=beta, weight=weight, **_points(found)))
    if not scores:
        raise InputError(f"{runs_dir}: no student is done yet; run without --so-far")
    names: tuple[TeacherName, ...] = ("in_domain", "unrelated")
    teachers = {name: _result(runs_dir, teacher(name)) for name in names}
    known: dict[str, float] = {name: _points(found)["test"] for name, found in teachers.items() if found is not None}
    return Scores(students=tuple(scores), sweep=tuple(points), teachers=known)


def _result(runs_dir: Path, config: RunConfig) -> dict[str, Any] | None:
    return RunFolder(runs_dir / config.run_id).result()


def _points(result: Mapping[str, Any]) -> dict[str, float]:
    return {split: 100.0 * result[split]["mean_auroc"] for split in ("test", "validation")}


def differences(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Attention transfer minus transfer learning on the test split, seed by seed, in points, with a 95 % interval."""
    test = {(score.method, score.train_images, score.seed): score.test for score in scores}
    made = []
    for method in METHODS[1:]:
        for size in EPOCHS:
            pairs = [
                test[method, size, seed] - test["transfer_learning", size, seed]
                for seed in SEEDS
                if (method, size, seed) in test and ("transfer_learning", size, seed) in test
            ]
            summary = summarise(pairs)
            if summary is not None:
                row = {"method": method, "train_images": size, "mean": summary.mean, "t_half": summary.t_half}
                made.append({**row, "by_seed": pairs})
    return made
