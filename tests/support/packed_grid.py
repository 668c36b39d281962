"""A grid for jobs that hold two runs: two long ones; a good one beside one that asks for too many images."""

from __future__ import annotations

from harness.config import DataConfig, NetworkConfig, RunConfig, Schedule, Weights
from launch.grids.grid import Grid, GridRun


def config(seed: int, *, epochs: int = 1, subset: str = "32") -> RunConfig:
    """DenseNet-40 on 64x64 images, two steps an epoch."""
    return RunConfig(
        data=DataConfig(dataset="chestxray14", image_size=64, subset=subset),
        network=NetworkConfig(name="densenet40"),
        init=Weights(kind="none"),
        schedule=Schedule(epochs=epochs, batch_size=16, learning_rate=1e-3),
        seed=seed,
    )


def grid() -> Grid:
    """Four runs that need nothing."""
    configs = {
        "long_a": config(20, epochs=12),
        "long_b": config(21, epochs=12),
        "mixed_bad": config(22, subset="9999"),
        "mixed_good": config(23),
    }
    runs = tuple(GridRun(name=name, kind="repetition", config=made) for name, made in configs.items())
    return Grid(name="packed", runs=runs)
