"""Tell what successive halving saves of the beta searches of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from launch.grids.grid import GridRun
from launch.plan.cost import Estimate, Splits, run_work
from launch.plan.tables import hours_of


@dataclass(frozen=True, kw_only=True)
class Halving:
    """The searches by halving of a plan, beside full searches of the same points."""

    searches: int
    points: int
    """Runs of the full searches."""
    survivors: int
    """Points that are trained to the end."""
    gpu_hours: float
    gpu_hours_full: float

    @property
    def text(self) -> str:
        """One line for people; nothing without such a search."""
        if not self.searches:
            return ""
        own, full = hours_of(self.gpu_hours), hours_of(self.gpu_hours_full)
        return (
            f"searches by halving: {self.searches}, which train {self.survivors} of {self.points} points to the end; "
            f"{own} of GPU time in place of {full}, so {hours_of(self.gpu_hours_full - self.gpu_hours)} saved"
        )

    @property
    def document(self) -> dict[str, dict[str, float]]:
        """The same as JSON values."""
        return {"halving": asdict(self)} if self.searches else {}


def halving_of(runs: Sequence[GridRun], cost: Estimate, splits: Splits) -> Halving:
    """Sum up the searches whose last rung is among these runs."""
    last = {}
    for run in runs:
        search = run.config.promotion
        if search is not None and search.rung == len(search.rungs) - 1 and search.rank == 0:
            last[run.run_id] = search
    searches = list(last.values())
    own = {run.run_id for one in searches for run in one.named_runs().values()}
    full = [point for one in searches for point in one.full.runs]
    return Halving(
        searches=len(searches),
        points=len(full),
        survivors=sum(one.rungs[-1].size for one in searches),
        gpu_hours=sum(cost.hours[run_id] for run_id in own),
        gpu_hours_full=sum(cost.throughput.seconds(point, run_work(point, splits)) for point in full) / 3600.0,
    )
