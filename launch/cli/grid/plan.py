"""``cxr grid plan`` and ``status``, and the options that all commands of a grid share."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from datasets.errors import InputError
from launch.executors.registry import current_states
from launch.executors.slurm.places import load_places, places_document, places_table, places_without_runs
from launch.grids.grid import Grid, GridRun
from launch.grids.registry import GRIDS, load_grid
from launch.grids.selection import Selection
from launch.plan.balance import check_balance
from launch.plan.cost import Estimate, Splits, estimate
from launch.plan.decide import decide
from launch.plan.halving import halving_of
from launch.plan.power import Assumptions, CellPower, grid_power
from launch.plan.power_tables import assumption_lines, power_document, power_table
from launch.plan.run_state import DatasetFacts, RunState, dataset_facts
from launch.plan.tables import (
    is_over,
    money,
    money_document,
    moving_table,
    plan_document,
    plural,
    print_plan,
    print_status,
    progress_line,
    status_document,
    status_row,
)
from launch.ranges import Amount, Positive

MAX_OTHERS = 5
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GridView:
    """Runs of a grid, what their betons hold, and where they stand."""

    runs: tuple[GridRun, ...]
    facts: Mapping[str, DatasetFacts]
    """By dataset."""
    states: Mapping[str, RunState]
    """By run id."""
    others: Mapping[str, RunState]
    """What the queue holds of the folder of runs beside this grid: runs of other grids, or of this one before it was
    edited; by run id."""

    @property
    def splits(self) -> Splits:
        """Number of images by dataset and split, of the betons that are there."""
        return {dataset: facts.splits for dataset, facts in self.facts.items()}

    def estimate(self, images_per_s: float | None = None) -> Estimate:
        """Estimate what the runs take."""
        return estimate(self.runs, self.states, self.splits, images_per_s)


@dataclass(frozen=True, kw_only=True)
class GridOptions(Selection):
    """What all commands of a grid have in common."""

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """Name of the grid, demo or paper, a TOML file, or a Python file with a function grid() that
    returns one."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton for each dataset of the grid."""

    def load(self) -> Grid:
        """Return the whole grid."""
        return load_grid(self.grid)

    def look(self) -> GridView:
        """Return the chosen runs and where they stand by their folders and by the queues in use."""
        grid = self.load()
        runs, ids = self.choose(grid), {run.run_id for run in grid.runs}
        facts = dataset_facts(self.data_dir, {run.config.data.dataset for run in runs})
        states = current_states(runs, self.runs_dir, facts)
        others = {run_id: state for run_id, state in states.items() if run_id not in ids}
        return GridView(runs, facts, states, others)


@dataclass(frozen=True, kw_only=True)
class Plan(GridOptions):
    """List the runs of a grid, what each needs and costs, and what a submit would do with it and why.

    GPU time comes from what finished runs of --runs-dir took; else from --images-per-s. The smallest difference that
    each cell can show is told where its beton is there; cxr power tells it by label and with other assumptions.

    For example:
        cxr grid plan paper --dataset chexpert --size 1k 5k --images-per-s 800
    """

    images_per_s: Positive | None = None
    """Training images per second and GPU of DenseNet-121 by transfer learning, for what no finished run tells;
    by default the rates of one card, which the plan names."""
    price_per_gpu_hour: Amount | None = None
    """Also say what all of it costs at this price, in whatever currency."""
    cluster: Path | None = None
    """A profile of SLURM: also say how many runs, and how much GPU time, each of its places gets."""
    json: bool = False
    """Print JSON alone: grid, cost (images, GPU-hours, critical path), and for each run id, name, kind, needs, cells,
    printed (the paper's value), config, cost, action, reason; shows, as cxr power --json; money, of a price;
    places, of a cluster profile; and halving, of beta searches by halving: searches, points, survivors, gpu_hours,
    gpu_hours_full."""

    def run(self) -> None:
        view = self.look()
        check_balance(view.runs, self.data_dir)
        plan, cost = decide(view.runs, view.states), view.estimate(self.images_per_s)
        price = self.price_per_gpu_hour
        places = self._places(view.runs, cost)
        halving = halving_of(view.runs, cost, view.splits)
        cells, missing = self._power(view.runs)
        if self.json:
            shows = power_document(cells, missing, Assumptions())
            extras = {**money_document(cost, price), **places, **halving.document}
            print_json({**plan_document(self.grid, plan, cost), "shows": shows, **extras})
            return
        if self.grid in GRIDS:
            print(f"{self.grid}: {GRIDS[self.grid].title}\n")
        told = ("", "what the cells can show:", power_table(cells), "") if cells else ()
        spent = filter(None, [halving.text, money(cost, price)])
        where = ("", places_table(places["places"]), "") if places else ()
        print_plan(plan, cost, (*spent, *where, *told, *assumption_lines(cells, missing, Assumptions())))

    def _places(self, runs: Sequence[GridRun], cost: Estimate) -> dict[str, list[dict[str, Any]]]:
        """What each place of the profile gets, with a warning for those that get nothing."""
        if self.cluster is None:
            return {}
        rows = places_document(runs, load_places(self.cluster), cost)
        for line in places_without_runs(rows):
            logger.warning("%s: %s", self.cluster, line)
        return {"places": rows}

    def _power(self, runs: Sequence[GridRun]) -> tuple[tuple[CellPower, ...], tuple[str, ...]]:
        """What the cells can show; nothing, with a warning, where a beton cannot be read: the plan goes without."""
        try:
            return grid_power(runs, self.data_dir, self.runs_dir, Assumptions())
        except InputError as error:
            logger.warning("smallest differences are not known: %s", error)
            return (), ()


@dataclass(frozen=True, kw_only=True)
class Status(GridOptions):
    """Show where each run of a grid stands, from the run folders and, for queued runs, one look at the queue.

    For example:
        cxr grid status demo --runs-dir runs/demo --watch
    """

    images_per_s: Positive | None = None
    """As grid plan takes it; decides the hours left where no run has finished."""
    price_per_gpu_hour: Amount | None = None
    """As grid plan takes it."""
    page: Path | None = None
    """Write the report's page into this folder, with where the runs stand at its head; with --watch at every look,
    and browsers load it again. It is a file: no server."""
    watch: bool = False
    """Follow the runs that move until nothing moves any more; Ctrl-C ends it with status 130, the runs go on."""
    interval_s: Positive = 10.0
    """Time between two looks of a watch."""
    json: bool = False
    """Print JSON alone: grid, counts, gpu_hours, gpu_hours_left, eta_s, energy_kwh (null where no device tells), for
    each run id, name, kind, state, job, device, epoch(s), mean_auroc, images_per_s, eta_s, restarts, preempted,
    timed_out, energy_kwh, error, and others: runs of another grid that the queue holds, with id, state, job."""

    def run(self) -> None:
        if self.watch:
            self._follow()
            return
        view = self.look()
        cost, price = view.estimate(self.images_per_s), self.price_per_gpu_hour
        self._write_page(view, cost)
        if self.json:
            others = [{"id": run_id, "state": state.state, "job": state.job} for run_id, state in view.others.items()]
            document = status_document(self.grid, view.runs, view.states, cost, view.splits)
            print_json({**document, **money_document(cost, price), "others": others})
        else:
            print_status(view.runs, view.states, cost, view.splits, price)
            warn_of_others(view.others)

    def _follow(self) -> None:
        """Look again and again: a table in place on a terminal, else one progress line for each look."""
        if self.json:
            raise InputError("--watch --json: choose one; ask for --json as often as you like")
        from rich.console import Console, Group
        from rich.live import Live

        live = Live(console=Console(highlight=False), auto_refresh=False) if sys.stdout.isatty() else None
        with live or nullcontext():
            while True:
                view = self.look()
                cost, over = view.estimate(self.images_per_s), is_over(view.runs, view.states)
                self._write_page(view, cost, None if over else self.interval_s)
                line = progress_line(view.runs, view.states, cost, self.price_per_gpu_hour)
                if live is None:
                    print(line, flush=True)
                else:
                    live.update(Group(moving_table(view.runs, view.states, view.splits), line), refresh=True)
                if over:
                    return
                time.sleep(self.interval_s)

    def _write_page(self, view: GridView, cost: Estimate, refresh_s: float | None = None) -> None:
        """Write the page, where one is asked for."""
        if self.page is None:
            return
        from launch.report.status_page import write_status_page

        line = progress_line(view.runs, view.states, cost, self.price_per_gpu_hour)
        rows = [status_row(run, view.states[run.run_id], "", view.splits) for run in view.runs]
        write_status_page(self.runs_dir, self.page, f"Grid {self.grid}: {line}", rows, refresh_s)


def warn_of_others(others: Mapping[str, RunState]) -> None:
    """Say that the queue holds runs that are not of this grid, if it does."""
    if others:
        listed = [f"{run_id} ({state.state} as job {state.job})" for run_id, state in others.items()]
        listed[MAX_OTHERS:] = ["..."] if len(listed) > MAX_OTHERS else []
        logger.warning(
            "the queue also holds %s of another grid, or of this one before it was edited: %s; "
            "cxr grid cancel --all takes everything in --runs-dir out of the queue",
            plural(len(others), "run"),
            ", ".join(listed),
        )


def print_json(document: object) -> None:
    """Print JSON alone on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))
