"""A grid to be disturbed: 21 runs of seconds in four levels, a search by halving among them, meant for two nodes."""

from __future__ import annotations

from dataclasses import replace

from harness.config import AttentionTransfer, BetaSearch, DataConfig, NetworkConfig, RunConfig, Schedule, Weights
from launch.grids.grid import Grid, GridRun

VICTIMS = ("requeued", "cancelled", "crashed")


def config(
    seed: int,
    init: RunConfig | None = None,
    *,
    teacher: RunConfig | None = None,
    epochs: int = 1,
    weight: float | None = 0.5,
) -> RunConfig:
    """DenseNet-40 on 32 images of 64x64 pixels, four steps an epoch."""
    made = RunConfig(
        data=DataConfig(dataset="chestxray14", image_size=64, subset="32"),
        network=NetworkConfig(name="densenet40"),
        init=Weights(kind="none") if init is None else Weights(kind="run", run=init),
        schedule=Schedule(epochs=epochs, batch_size=8, learning_rate=1e-3),
        seed=seed,
    )
    if teacher is None:
        return made
    return RunConfig(
        data=made.data,
        network=made.network,
        init=made.init,
        objective=AttentionTransfer(teacher=Weights(kind="run", run=teacher), weight=weight),
        schedule=made.schedule,
        seed=seed,
    )


def grid() -> Grid:
    """Prerequisites, students by transfer learning and from a teacher, students of students; four are longer."""
    pretrain, other = config(0), config(1)
    teacher = replace(config(2), network=NetworkConfig(name="densenet121"))
    students = {f"narrow_{i}": config(10 + i, (pretrain, other)[i % 2]) for i in range(5)}
    taught = {f"narrow_taught_{i}": config(20 + i, pretrain, teacher=teacher) for i in range(2)}
    later = {f"narrow_later_{i}": config(30 + i, students[f"narrow_{i}"]) for i in range(2)}
    template = config(70, pretrain, teacher=teacher, epochs=2, weight=None)
    search = BetaSearch(template=template, points=(1.0, 100.0), pruner="halving", min_resource=1)
    victims = {f"narrow_{name}": config(40 + i, other, epochs=8) for i, name in enumerate(VICTIMS)}
    configs = {
        "narrow_pretrain": pretrain,
        "narrow_other": other,
        "narrow_teacher": teacher,
        **victims,
        **students,
        **taught,
        **later,
        "narrow_after_requeue": config(50, victims["narrow_requeued"]),
        "narrow_after_cancel": config(51, victims["narrow_cancelled"]),
        "limit": config(60, epochs=8),
        **{f"wide_{name}": run for name, run in search.named_runs().items()},
    }
    return Grid(
        name="scene", runs=tuple(GridRun(name=name, kind="repetition", config=made) for name, made in configs.items())
    )
