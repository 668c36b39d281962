"""Decide a beta search from the results of its runs: the winner, and which runs go on under successive halving."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from datasets.errors import InputError
from harness.config import BetaSearch, RunConfig
from harness.runs.folder import RunFolder
from harness.runs.runtime import FolderOf


class Tried(NamedTuple):
    """A run of a search that is done; the best one sorts first, of equal ones that with the smaller beta."""

    loss: float
    """1 minus the best validation mean AUROC so far."""
    beta: float
    folder: RunFolder
    config: RunConfig


def ranked(search: BetaSearch, folder_of: FolderOf) -> list[Tried]:
    """The runs that decide the search, best first.

    Raises:
        InputError: when one of them is not finished or has no mean AUROC.
    """
    found = []
    for run in search.runs:
        folder, given = folder_of(run), getattr(run.objective, "beta", None)
        result = folder.result()
        words = f"beta {given:g}" if isinstance(given, int | float) else f"rung {search.rung or len(search.rungs)}"
        if result is None:
            raise InputError(f"{folder.path}: the beta search needs this run ({words}), which is not finished")
        value = result["validation"]["mean_auroc"]
        if value is None:
            raise InputError(f"{folder.result_file}: no validation mean AUROC, so beta cannot be chosen by it")
        beta = float(given if isinstance(given, int | float) else result["beta"])
        found.append(Tried(1.0 - float(value), beta, folder, run))
    return sorted(found, key=lambda tried: tried[:2])


def promoted(config: RunConfig, folder_of: FolderOf) -> Tried | None:
    """The run whose checkpoint a run of a search's later rung goes on from; None of any other run.

    Raises:
        InputError: when the rung before is not done.
    """
    search = config.promotion
    return None if search is None else ranked(search, folder_of)[search.rank]


def drop_decided(config: RunConfig, folder_of: FolderOf) -> int:
    """Remove what resuming the rung before needed, once all runs of this run's rung are done; return its bytes."""
    search, freed = config.promotion, 0
    if search is None or search.rung is None:
        return 0
    if all(folder_of(run).result_file.exists() for run in search.runs_of(search.rung)):
        for run in search.runs:
            with suppress(FileNotFoundError):  # where two runs end together, both remove
                freed += folder_of(run).drop_resume_files()
    return freed
