"""The demo's grid: the paper's design in small, over phantom data.

ChestX-ray14-style pre-training of both networks, a MIMIC-CXR-style teacher, then students on a small CheXpert-style
subset: {transfer learning, attention transfer from the in-domain teacher} x {DenseNet-121, DenseNet-40}, repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.config import (
    NETWORKS,
    AttentionTransfer,
    DataConfig,
    NetworkConfig,
    Objective,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
)
from launch.grids.grid import Grid, GridRun

SHORT = {name: NETWORKS[name].short_name for name in ("densenet121", "densenet40")}


@dataclass(frozen=True, kw_only=True)
class DemoSizes:
    """Every number of the demo: two cores end in minutes, and the teacher reaches 0.80 on its test split."""

    image_size: int = 64
    """Side of the phantom images in pixels; the demo's betons must have it."""
    subset: str = "100"
    """Training images of a student."""
    rotation_deg: float = 5.0
    flip_probability: float = 0.0
    """Off, for a teacher that is trained for four epochs only."""
    pretrain_epochs: int = 2
    teacher_epochs: int = 4
    student_epochs: int = 5
    batch_size: int = 8
    """Small, so that few images make many optimiser steps."""
    learning_rate: float = 1e-3
    """Higher than the paper's, since the demo starts from random weights."""
    beta: float = 1.0
    """Divides the attention loss, as in the paper."""
    repetitions: int = 2

    def data(self, dataset: str, subset: str = "full") -> DataConfig:
        """Phantom images of ``dataset``."""
        return DataConfig(
            dataset=dataset,
            subset=subset,
            image_size=self.image_size,
            rotation_deg=self.rotation_deg,
            flip_probability=self.flip_probability,
        )

    def schedule(self, epochs: int) -> Schedule:
        """Adam, its rate halved after each third of the epochs."""
        return Schedule(
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            halve_every=max(1, -(-epochs // 3)),
        )


def demo_grid(sizes: DemoSizes | None = None) -> Grid:
    """The demo of these sizes."""
    sizes = sizes or DemoSizes()
    pretrained = {network: _pretraining(sizes, network) for network in SHORT}
    teacher = RunConfig(
        data=sizes.data("mimic_cxr"), init=Weights(kind="none"), schedule=sizes.schedule(sizes.teacher_epochs)
    )
    prerequisites = [
        ("teacher_mimic_d121", teacher),  # first, since it takes longest and half of the students wait for it
        *((f"pretrain_chestxray14_{SHORT[network]}", config) for network, config in pretrained.items()),
    ]
    return Grid(
        name="demo",
        runs=(
            *(GridRun(name=name, kind="prerequisite", config=config) for name, config in prerequisites),
            *_students(sizes, pretrained, teacher),
        ),
    )


def _pretraining(sizes: DemoSizes, network: str) -> RunConfig:
    return RunConfig(
        data=sizes.data("chestxray14"),
        network=NetworkConfig(name=network),
        init=Weights(kind="none"),
        schedule=sizes.schedule(sizes.pretrain_epochs),
    )


def _students(sizes: DemoSizes, pretrained: dict[str, RunConfig], teacher: RunConfig) -> Iterator[GridRun]:
    schedule = sizes.schedule(sizes.student_epochs)
    for method in ("tl", "at-mimic"):
        for network in SHORT:
            objective: Objective = TransferLearning()
            if method != "tl":
                objective = AttentionTransfer(teacher=Weights(kind="run", run=teacher), beta=sizes.beta)
            for seed in range(sizes.repetitions):
                yield GridRun(
                    name=f"chexpert_{sizes.subset}_chestxray14_{method}_{SHORT[network]}_r{seed}",
                    kind="repetition",
                    cells=("demo",),
                    config=RunConfig(
                        data=sizes.data("chexpert", sizes.subset),
                        network=NetworkConfig(name=network),
                        init=Weights(kind="run", run=pretrained[network]),
                        objective=objective,
                        schedule=schedule,
                        seed=seed,
                    ),
                )
