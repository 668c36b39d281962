"""Look whether the groups that runs balance by are there, before any of them starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datasets.sources.registry import beton_files, beton_of
from launch.grids.grid import GridRun


def check_balance(runs: Iterable[GridRun], data_dir: Path) -> None:
    """Refuse what a run would be refused for at its start, where its beton is there.

    Raises:
        InputError: when training images make no groups by a run's ``data.balance``.
    """
    data = [run.config.data for run in runs if run.config.data.balance is not None]
    for dataset, subset, by in dict.fromkeys((one.dataset, one.subset, str(one.balance)) for one in data):
        path = beton_of(dataset, data_dir)
        if all(file.exists() for file in beton_files(path)):
            from datasets.beton.mixed import open_beton
            from datasets.loading.balance import balance_groups

            beton = open_beton(path)
            balance_groups(beton, beton.indices("train", subset), by)
