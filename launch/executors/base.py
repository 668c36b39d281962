"""What every executor offers: a plan comes in, what became of each run goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from launch.grids.grid import GridRun
from launch.plan.decide import Decision


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run of a plan."""

    run: GridRun
    state: Literal["skipped", "done", "queued", "failed", "blocked"]
    """``skipped`` was done before; ``queued`` was handed to a queue that outlives the executor."""
    reason: str = ""
    mean_auroc: float | None = None
    """Test AUROC in 0..1 of a done run."""
    seconds: float | None = None
    """Time that the run's process took."""
    log_tail: tuple[str, ...] = ()
    """Last lines of a failed run's log."""


class Executor(Protocol):
    """Carries a plan out: on this machine's slots, or by a cluster's queue."""

    def submit(self, plan: Sequence[Decision]) -> list[Outcome]:
        """Start what the plan says; an outcome for each decision, in their order.

        Raises:
            KeyboardInterrupt: when asked to stop; what was started is then stopped too, and goes on next time.
        """
