"""Read the scores of the finished runs of the science checks, and compare methods seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.science.runs import EPOCHS, METHODS, SEEDS, TEACHERS, students, swept, teacher
from datasets.errors import InputError
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.report.statistics.cells import Summary, summarise

Score = dict[str, Any]
"""Of a student ``method``, ``train_images``, ``seed`` and ``beta``, of a point of a search ``teacher``, ``role``,
``beta`` and ``weight`` (lambda in L = CE + lambda * L_AT); of both ``test`` and best ``validation`` mean AUROC in
points."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the finished runs say; a run that is not done is not in it."""

    students: list[Score]
    sweep: list[Score]
    teachers: dict[str, float]
    """Test mean AUROC in points of each teacher, on the images of its own kind."""

    @property
    def complete(self) -> bool:
        return len(self.students) == len(METHODS) * len(EPOCHS) * len(SEEDS) and len(self.sweep) == len(swept())

    def tests(self, method: str, size: int) -> dict[int, float]:
        """Test AUROC by seed of a method's students with ``size`` training images."""
        return {
            score["seed"]: score["test"]
            for score in self.students
            if (score["method"], score["train_images"]) == (method, size)
        }

    def summary(self, method: str, size: int) -> Summary | None:
        """Mean and interval of ``tests``."""
        return summarise(self.tests(method, size).values())


def collect(runs_dir: Path) -> Scores:
    """Read the results below ``runs_dir``.

    Raises:
        InputError: when no student is done.
    """

    def result(config: RunConfig) -> dict[str, Any] | None:
        return RunFolder(runs_dir / config.run_id).result()

    scores = [
        {"method": method, "train_images": size, "seed": seed, **_points(found), "beta": found["beta"]}
        for (method, size, seed), config in students().items()
        if (found := result(config)) is not None
    ]
    points = [
        {"teacher": name, "role": role, "beta": beta, "weight": found["attention_weight"], **_points(found)}
        for (name, role, beta), config in swept().items()
        if (found := result(config)) is not None
    ]
    if not scores:
        raise InputError(f"{runs_dir}: no student is done yet; run without --so-far")
    tested = {name: result(teacher(name)) for name in TEACHERS}
    teachers: dict[str, float] = {name: _points(found)["test"] for name, found in tested.items() if found is not None}
    return Scores(students=scores, sweep=points, teachers=teachers)


def _points(result: Mapping[str, Any]) -> dict[str, float]:
    return {split: 100.0 * result[split]["mean_auroc"] for split in ("test", "validation")}


def differences(scores: Scores) -> list[dict[str, Any]]:
    """Attention transfer minus transfer learning on the test split, seed by seed, in points, with a 95 % interval."""
    made = []
    for method in METHODS[1:]:
        for size in EPOCHS:
            ours, plain = scores.tests(method, size), scores.tests("transfer_learning", size)
            pairs = [ours[seed] - plain[seed] for seed in SEEDS if seed in ours and seed in plain]
            summary = summarise(pairs)
            if summary is not None:
                row = {"method": method, "train_images": size, "mean": summary.mean, "t_half": summary.t_half}
                made.append({**row, "by_seed": pairs})
    return made
