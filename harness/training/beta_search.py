"""Resolve a beta search to the beta with the best validation AUROC."""

from __future__ import annotations

from datasets.errors import InputError
from harness.config import AttentionTransfer, BetaSearch, RunConfig
from harness.runs.runtime import FolderOf


def resolve_beta(search: BetaSearch, folder_of: FolderOf) -> float:
    """The point whose run has the highest best validation mean AUROC; the smaller beta on a tie.

    Raises:
        InputError: when a run of the search is not finished or has no mean AUROC.
    """
    scored: list[tuple[float, float]] = []
    for beta, run in zip(search.points, search.runs, strict=True):
        folder = folder_of(run)
        result = folder.result()
        if result is None:
            raise InputError(f"{folder.path}: the beta search needs this run (beta {beta:g}), which is not finished")
        value = result["validation"]["mean_auroc"]
        if value is None:
            raise InputError(f"{folder.result_file}: no validation mean AUROC, so beta cannot be chosen by it")
        scored.append((-float(value), beta))
    return min(scored)[1]


def resolve_weight(config: RunConfig, folder_of: FolderOf) -> tuple[float | None, float | None]:
    """The canonical weight of a run's transfer loss and the beta behind it; None for what the run does not have."""
    objective = config.objective
    if objective.weight is not None or not isinstance(objective, AttentionTransfer):
        return objective.weight, None
    beta = resolve_beta(objective.beta, folder_of) if isinstance(objective.beta, BetaSearch) else objective.beta
    return objective.attention_weight(beta), beta
