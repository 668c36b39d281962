"""Rungs of successive halving: how many points of a search train up to which epoch.

Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016. The
names ``min_resource`` and ``reduction_factor`` are Optuna's, whose pruner is the asynchronous variant: it judges a
point by those that have reached its rung so far, so that the choice depends on which run was faster. Here a rung is
decided once all of it is there.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.config.schedule import Schedule


class Rung(NamedTuple):
    """A part of a search."""

    size: int
    """Points that it trains."""
    end: int
    """Epochs that they have done at its end."""


def rungs_of(count: int, schedule: Schedule, min_resource: int | None, reduction_factor: int) -> tuple[Rung, ...]:
    """Rungs of a search among ``count`` points; the points of the last one train to the schedule's end.

    After a rung one point of every ``reduction_factor`` goes on, at least one, to ``reduction_factor`` times the
    epochs. The first rung ends after ``min_resource`` epochs; None chooses it so that one point is left for the last.
    """
    every, end, left = schedule.validate_every, schedule.epochs, count
    if min_resource is None:
        while left > 1:
            end, left = end // reduction_factor, left // reduction_factor
        min_resource = max(1, end // every) * every
    found, end = [], min_resource
    while count > 1 and end < schedule.epochs:
        found.append(Rung(count, end))
        count, end = max(1, count // reduction_factor), end * reduction_factor
    return (*found, Rung(count, schedule.epochs))
