"""The demo's grid: the paper's design in small, over phantom data.

ChestX-ray14-style pre-training of both networks, a MIMIC-CXR-style teacher, then students on a small CheXpert-style
subset: {transfer learning, attention transfer from the in-domain teacher} x {DenseNet-121, DenseNet-40}, repeated.
Its sizes let two cores end in minutes, and the teacher reach 0.80 on its test split.
"""

from __future__ import annotations

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
STUDENT_SUBSET = "100"
REPETITIONS = 2


def demo_grid() -> Grid:
    """Return the demo: 3 prerequisites and 8 students."""
    teacher = RunConfig(data=_data("mimic_cxr"), init=Weights(kind="none"), schedule=_schedule(epochs=4))
    pretrained = {
        network: RunConfig(
            data=_data("chestxray14"),
            network=NetworkConfig(name=network),
            init=Weights(kind="none"),
            schedule=_schedule(epochs=2),
        )
        for network in SHORT
    }
    prerequisites = [
        ("teacher_mimic_d121", teacher),  # first, since it takes longest and half of the students wait for it
        *((f"pretrain_chestxray14_{SHORT[network]}", config) for network, config in pretrained.items()),
    ]
    methods: dict[str, Objective] = {
        "tl": TransferLearning(),
        "at-mimic": AttentionTransfer(teacher=Weights(kind="run", run=teacher)),
    }
    students = [
        GridRun(
            name=f"chexpert_{STUDENT_SUBSET}_chestxray14_{method}_{SHORT[network]}_r{seed}",
            kind="repetition",
            cells=("demo",),
            config=RunConfig(
                data=_data("chexpert", STUDENT_SUBSET),
                network=NetworkConfig(name=network),
                init=Weights(kind="run", run=pretraining),
                objective=objective,
                schedule=_schedule(epochs=5),
                seed=seed,
            ),
        )
        for method, objective in methods.items()
        for network, pretraining in pretrained.items()
        for seed in range(REPETITIONS)
    ]
    first = [GridRun(name=name, kind="prerequisite", config=config) for name, config in prerequisites]
    return Grid(name="demo", runs=(*first, *students))


def _data(dataset: str, subset: str = "full") -> DataConfig:
    """Phantom images of 64 x 64 pixels; never flipped, for a teacher that is trained for four epochs only."""
    return DataConfig(dataset=dataset, subset=subset, image_size=64, rotation_deg=5.0, flip_probability=0.0)


def _schedule(epochs: int) -> Schedule:
    """Small batches, so that few images make many steps, and a rate above the paper's, halved after each third."""
    return Schedule(epochs=epochs, batch_size=8, learning_rate=1e-3, halve_every=-(-epochs // 3))
