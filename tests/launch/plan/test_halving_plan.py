"""Searches by halving before they run: rungs, runs and their needs, cost and saving, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import InputError
from harness.config import Schedule
from harness.config.halving import rungs_of
from launch.cli.__main__ import main
from launch.executors.slurm.places import ProfilePlace
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.stages import make_stages
from launch.grids.grid import Grid
from launch.grids.registry import load_grid
from launch.plan.cost import estimate, measure, run_work, share_left
from launch.plan.decide import decide
from launch.plan.halving import halving_of
from launch.plan.run_state import RunState
from launch.simulation.model import Allocation, runs_left

SPLITS = {"chexpert": {"train": 160, "validation": 50}}
GRID = """
[defaults]
data = {dataset = "chexpert"}
schedule = {epochs = 8}
[[runs]]
name = "at"
seeds = 2
objective = {method = "attention_transfer", teacher = {kind = "imagenet"}, beta = {points = [1, 10, 100, 1000]}}
"""


def load(folder: Path, options: str = 'pruner = "halving"') -> Grid:
    path = folder / "mine.toml"
    path.write_text(GRID.replace("1000]}", f"1000], {options}}}") if options else GRID, encoding="utf-8")
    return load_grid(str(path))


@pytest.mark.parametrize(
    ("count", "schedule", "min_resource", "factor", "expected"),
    [
        (8, Schedule(), None, 2, [(8, 16), (4, 32), (2, 64), (1, 128)]),
        (8, Schedule(), 4, 2, [(8, 4), (4, 8), (2, 16), (1, 128)]),
        (8, Schedule(), 32, 2, [(8, 32), (4, 64), (2, 128)]),
        (8, Schedule(), None, 4, [(8, 8), (2, 32), (1, 128)]),
        (7, Schedule(epochs=10, validate_every=3), None, 2, [(7, 3), (3, 6), (1, 10)]),
        (3, Schedule(epochs=1), None, 2, [(3, 1)]),
        (1, Schedule(epochs=4), None, 2, [(1, 4)]),
    ],
)
def test_the_rungs(
    count: int, schedule: Schedule, min_resource: int | None, factor: int, expected: list[tuple[int, int]]
) -> None:
    assert [tuple(rung) for rung in rungs_of(count, schedule, min_resource, factor)] == expected


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 7), st.integers(2, 5))
def test_rungs_shrink_and_end_with_validations(count: int, epochs: int, every: int, factor: int) -> None:
    rungs = rungs_of(count, Schedule(epochs=epochs, validate_every=every), None, factor)
    sizes, ends = [rung.size for rung in rungs], [rung.end for rung in rungs]
    assert (sizes[0], ends[-1]) == (count, epochs)
    assert sizes == sorted(set(sizes), reverse=True)
    assert ends == sorted(set(ends))
    assert all(end % every == 0 for end in ends[:-1])


def test_each_rung_is_a_stage_behind_all_of_the_one_before(tmp_path: Path) -> None:
    grid = load(tmp_path)
    assert [run.name for run in grid.runs] == [
        *(f"search_at_rung0_beta{beta}" for beta in (1, 10, 100, 1000)),
        *("search_at_rung1_rank0", "search_at_rung1_rank1", "search_at_rung2_rank0"),
        *("at_r0", "at_r1"),
    ]
    place = ProfilePlace(name="the profile", where="profile.toml", cluster=ClusterConfig(gpus_per_run=0))
    stages = make_stages(grid.runs, (), places={run.run_id: place for run in grid.runs}, priority={})
    assert [len(stage) for stage in stages] == [4, 2, 1, 2]
    for before, stage in pairwise(stages):
        needed = {run.run_id for task in before for run in task.runs}
        assert all(set(task.needs) == needed for task in stage)
    failed = {grid.runs[0].run_id: RunState(state="failed", error="NaN")}
    failed |= {run.run_id: RunState(state="done") for run in grid.runs[1:4]}
    actions = {decision.run.name: decision.action for decision in decide(grid.runs, failed)}
    assert actions["search_at_rung0_beta1"] == "run"  # a rung is not decided without one of its points
    assert {actions[name] for name in ("search_at_rung1_rank0", "search_at_rung2_rank0", "at_r0")} == {"wait"}


def test_the_full_search_stays_what_it_was(tmp_path: Path) -> None:
    full, by_halving = load(tmp_path, ""), load(tmp_path)
    assert [run.name for run in full.runs][:2] == ["search_at_beta1", "search_at_beta10"]
    assert {run.run_id for run in full.runs} == {run.run_id for run in load(tmp_path, 'pruner = "none"').runs}
    assert {run.run_id for run in full.runs}.isdisjoint(run.run_id for run in by_halving.runs)
    search = by_halving.runs[-3].config.promotion
    assert search is not None
    assert [run.run_id for run in search.full.runs] == [run.run_id for run in full.runs[:4]]


def test_hours_count_the_epochs_of_a_rung_alone(tmp_path: Path) -> None:
    """Rungs end after epochs 2, 4 and 8: 4 x 2 + 2 x 2 + 1 x 4 of 4 x 8 epochs."""
    runs = load(tmp_path).runs
    cost = estimate(runs, {}, SPLITS, 100.0)
    epoch = cost.hours[runs[-1].run_id] / 8
    assert [cost.hours[run.run_id] / epoch for run in runs] == pytest.approx([2, 2, 2, 2, 2, 2, 4, 8, 8])
    halving = halving_of(runs, cost, SPLITS)
    assert (halving.searches, halving.points, halving.survivors) == (1, 4, 1)
    assert (halving.gpu_hours, halving.gpu_hours_full) == pytest.approx((16 * epoch, 32 * epoch))
    assert halving.text.startswith("searches by halving: 1, which train 1 of 4 points to the end; ")
    assert halving_of(load(tmp_path, "").runs, estimate(load(tmp_path, "").runs, {}, SPLITS), SPLITS).text == ""
    simulated = runs_left(runs, cost.hours)
    assert simulated[-1].needs == ("search_at_rung2_rank0",)
    assert Allocation(gpus=4).lower_bound_h(simulated) == pytest.approx((2 + 2 + 4 + 8) * epoch)
    half = RunState(state="partial", epoch=6, epochs=8)
    assert share_left(half, runs[6].config.first_epoch) == 0.5
    passes = run_work(runs[6].config, SPLITS).passes
    done = {runs[6].run_id: RunState(state="done", epoch=8, epochs=8, gpu_seconds=passes / 500)}
    assert list(measure(runs, done, SPLITS).measured.values()) == pytest.approx([500.0])


def test_the_papers_searches_by_halving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["grid", "plan", "paper-halving", "--runs-dir", str(tmp_path), "--images-per-s", "800", "--json"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    kinds = Counter(run["kind"] for run in document["runs"])
    assert kinds == {"prerequisite": 3, "search": 16 * (8 + 4 + 2 + 1), "repetition": 189}
    saved = document["halving"]
    assert (saved["searches"], saved["points"], saved["survivors"]) == (16, 128, 16)
    assert saved["gpu_hours"] / saved["gpu_hours_full"] == pytest.approx((8 * 16 + 4 * 16 + 2 * 32 + 64) / (8 * 128))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            'pruner = "hyperband"',
            r"objective\.beta: a beta search's pruner = 'hyperband' is unknown; known: none, hal",
        ),
        ("min_resource = 2", r"min_resource and reduction_factor need pruner = 'halving'"),
        ('pruner = "halving", min_resource = 8', r"min_resource = 8 must be below schedule\.epochs = 8"),
        ('pruner = "halving", min_resource = 1.5', r"objective\.beta\.min_resource = 1\.5; expected a whole number"),
        ('pruner = "halving", reduction_factor = 1', r"reduction_factor must be at least 2"),
        ('puner = "halving"', r"objective\.beta: key 'puner' is unknown; did you mean pruner\?"),
    ],
)
def test_odd_options_are_refused_in_one_line(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, options)
