"""A grid for a cluster: a prerequisite, what starts from it, one alone, and one that fails with its dependants."""

from __future__ import annotations

from harness.config import DataConfig, NetworkConfig, RunConfig, Schedule, Weights
from launch.grids.grid import Grid, GridRun


def config(seed: int, init: RunConfig | None = None, *, epochs: int = 1, subset: str = "32") -> RunConfig:
    """DenseNet-40 on 64x64 images, two steps an epoch."""
    return RunConfig(
        data=DataConfig(dataset="chestxray14", image_size=64, subset=subset),
        network=NetworkConfig(name="densenet40"),
        init=Weights(kind="none") if init is None else Weights(kind="run", run=init),
        schedule=Schedule(epochs=epochs, batch_size=16, learning_rate=1e-3),
        seed=seed,
    )


def grid() -> Grid:
    """Five runs that end well in three levels, and three of which the first is bad: it asks for too many images."""
    pretrain, bad = config(0), config(5, subset="9999")
    first = config(1, pretrain)
    bad_child = config(6, bad)
    configs = {
        "good_pretrain": pretrain,
        "good_first": first,
        "good_second": config(2, pretrain),
        "good_third": config(3, first),
        "good_alone": config(4),
        "bad": bad,
        "bad_child": bad_child,
        "bad_grandchild": config(7, bad_child),
        "long": config(8, epochs=12),
        "wide": config(9),
    }
    return Grid(
        name="tiny", runs=tuple(GridRun(name=name, kind="repetition", config=made) for name, made in configs.items())
    )
