"""A grid of one's own as a Python file: what a TOML file cannot say, such as values that follow from each other.

    cxr grid plan docs/grids/learning_rates.py

``grid()`` must return the same runs every time: plan, submit, status and report each call it.
"""

from __future__ import annotations

from harness.config import DataConfig, RunConfig, Schedule, Weights
from launch.grids.grid import Grid, GridRun

BATCH_SIZES = (16, 32, 64, 128)
SEEDS = (0, 1, 2)


def grid() -> Grid:
    """ChestX-ray14's sample at learning rates in proportion to the batch, after one pre-training on CheXpert."""
    pretrain = RunConfig(data=DataConfig(dataset="chexpert", subset="50k"), schedule=Schedule(epochs=16))
    runs = [GridRun(name="pretrain", kind="prerequisite", config=pretrain)]
    for batch_size in BATCH_SIZES:
        schedule = Schedule(epochs=32, batch_size=batch_size, learning_rate=5e-5 * batch_size / 32)
        for seed in SEEDS:
            config = RunConfig(
                data=DataConfig(dataset="chestxray14_5.6k"),
                init=Weights(kind="run", run=pretrain),
                schedule=schedule,
                seed=seed,
            )
            runs.append(GridRun(name=f"batch{batch_size}_r{seed}", kind="repetition", config=config))
    return Grid(name="learning_rates", runs=tuple(runs))
