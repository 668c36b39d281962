"""Places: the ways in which one profile queues runs, each for the runs that meet its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from datasets.errors import InputError
from datasets.files import read_toml
from launch.executors.slurm.profile import ClusterConfig, parse_profile
from launch.grids.grid import GridRun
from launch.grids.rule import Rule
from launch.plan.cost import Estimate
from launch.plan.tables import hours_of, make_table


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfilePlace:
    """What some of the runs ask for."""

    name: str
    """``place 1``, in the order of the file; ``the profile`` for its own keys."""
    where: str
    """File and name, for messages."""
    cluster: ClusterConfig
    rule: Rule | None = None
    """Which runs; None takes all that no place before does."""

    def takes(self, run: GridRun) -> bool:
        """Whether the run meets the rule.

        Raises:
            InputError: when the rule cannot be asked of it.
        """
        try:
            return self.rule is None or self.rule.holds(run)
        except ValueError as error:
            raise InputError(f"{self.where}: when: {error}") from None


def load_places(path: Path) -> tuple[ProfilePlace, ...]:
    """Read the places of a profile in the order in which they are asked; the last one is the profile itself.

    A ``[[place]]`` has ``when``, and the keys in which it differs from the profile; its table ``sbatch`` adds to the
    profile's.

    Raises:
        InputError: when the file is absent, is not TOML, or has an unknown key or a wrong value.
    """
    values = read_toml(path, "--cluster")
    tables = values.pop("place", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: place: expected tables, each under a line [[place]]")
    places = [_place(values, table, f"place {number}", path) for number, table in enumerate(tables, start=1)]
    own = ProfilePlace(name="the profile", where=str(path), cluster=parse_profile(values, ClusterConfig, str(path)))
    return (*places, own)


def _place(values: Mapping[str, Any], table: Mapping[str, Any], name: str, path: Path) -> ProfilePlace:
    where = f"{path}: {name}"
    own = dict(table)
    when = own.pop("when", None)
    if not isinstance(when, str):
        raise InputError(f"{where}: expected a rule for its runs, as when = \"subset == '178k'\"")
    if isinstance(own.get("sbatch"), dict) and isinstance(values.get("sbatch"), dict):
        own["sbatch"] = {**values["sbatch"], **own["sbatch"]}
    try:
        rule = Rule(when)
    except ValueError as error:
        raise InputError(f"{where}: when = {when!r}: {error}") from None
    return ProfilePlace(
        name=name, where=where, cluster=parse_profile({**values, **own}, ClusterConfig, where), rule=rule
    )


def placed(runs: Sequence[GridRun], places: Sequence[ProfilePlace]) -> dict[str, ProfilePlace]:
    """Return the place of each run, by run id: the first whose rule it meets.

    Raises:
        InputError: when a rule cannot be asked of a run.
    """
    return {run.run_id: next(place for place in places if place.takes(run)) for run in runs}


def places_document(
    runs: Sequence[GridRun], places: Sequence[ProfilePlace], cost: Estimate
) -> list[dict[str, str | int | float | None]]:
    """Return runs and GPU-hours of each place, as JSON values.

    Raises:
        InputError: when a rule cannot be asked of a run.
    """
    found = placed(runs, places)
    its = {place: [run_id for run_id, one in found.items() if one is place] for place in places}
    return [
        {
            "place": place.name,
            "partition": place.cluster.partition,
            "when": None if place.rule is None else place.rule.text,
            "runs": len(run_ids),
            "gpu_hours": sum(cost.hours[run_id] for run_id in run_ids),
            "gpu_hours_left": sum(cost.left[run_id] for run_id in run_ids),
        }
        for place, run_ids in its.items()
    ]


def places_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Make a table of what ``places_document`` says."""
    headers = ("place", "partition", "when", "runs", "GPU time", "left")
    table = make_table(*headers, left=("when",), right=headers[3:])
    for row in rows:
        when = row["when"] or ("all others" if len(rows) > 1 else "all")
        hours = (hours_of(row[key]) for key in ("gpu_hours", "gpu_hours_left"))
        table.add_row(row["place"], row["partition"] or "-", when, str(row["runs"]), *hours)
    return table


def places_without_runs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each place that no run goes to."""
    empty = [row for row in rows if row["when"] is not None and not row["runs"]]
    words = "none of these runs is placed there: its rule holds for none, or a place before takes them"
    return [f"{row['place']} (when = {row['when']!r}): {words}" for row in empty]
