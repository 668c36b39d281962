"""The simulated cluster: replays worked out by hand, and laws that every replay obeys."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cli import main
from launch.grids.registry import load_grid
from launch.plan.cost import estimate
from launch.simulation.engine import Replay, simulate, summarise, utilisation
from launch.simulation.model import Allocation, SimulatedRun, Trouble, runs_left, troubles

CHAIN = [
    SimulatedRun(name="a", hours=1.0),
    SimulatedRun(name="b", hours=2.0, needs=("a",)),
    SimulatedRun(name="c", hours=3.0, needs=("b",)),
]
LONG = [SimulatedRun(name="long", hours=10.0)]
ONE = Allocation(gpus=1, checkpoint_h=1.0)


def alone(count: int, hours: float = 1.0) -> list[SimulatedRun]:
    return [SimulatedRun(name=f"r{i}", hours=hours) for i in range(count)]


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_a_chain_takes_the_sum_of_its_hours(gpus: int) -> None:
    assert simulate(CHAIN, Allocation(gpus=gpus)) == Replay(makespan_h=6.0, used=6.0)


@pytest.mark.parametrize(("gpus", "makespan"), [(1, 5.0), (2, 3.0), (4, 2.0), (5, 1.0), (9, 1.0)])
def test_independent_runs_fill_the_gpus_in_rounds(gpus: int, makespan: float) -> None:
    replay = simulate(alone(5), Allocation(gpus=gpus))
    assert replay == Replay(makespan_h=makespan, used=5.0)
    assert utilisation(replay, Allocation(gpus=gpus)) == 5.0 / (gpus * makespan)


def test_the_longest_chain_goes_first() -> None:
    """On two GPUs 3 | 2 + 2 ends after 4 hours, while 2 | 2 first would take 5; so is a short need of a long run."""
    runs = [SimulatedRun(name=name, hours=hours) for name, hours in (("x", 2.0), ("y", 2.0), ("z", 3.0))]
    assert simulate(runs, Allocation(gpus=2)).makespan_h == 4.0
    runs = [
        *alone(2, 2.0),
        SimulatedRun(name="need", hours=1.0),
        SimulatedRun(name="end", hours=4.0, needs=("need",)),
    ]
    assert simulate(runs, Allocation(gpus=2)).makespan_h == 5.0


def test_each_start_waits_in_the_queue() -> None:
    assert simulate(CHAIN, Allocation(gpus=1, queue_wait_h=0.5)).makespan_h == 7.5
    assert simulate(LONG, Allocation(gpus=1, queue_wait_h=0.5, time_limit_h=4.0)).makespan_h == 11.5


def test_time_limits_lose_nothing_but_each_start_costs_its_time() -> None:
    assert simulate(LONG, Allocation(gpus=1, time_limit_h=4.0)) == Replay(
        makespan_h=10.0, used=10.0, restarts=2, timed_out=2
    )
    assert simulate(LONG, Allocation(gpus=1, time_limit_h=4.0, start_h=0.5)) == Replay(
        makespan_h=11.5, used=11.5, starting=1.5, restarts=2, timed_out=2
    )


def test_a_failure_costs_the_time_since_the_last_checkpoint() -> None:
    assert simulate(LONG, ONE, [Trouble(3.25, "failure", 0)]) == Replay(
        makespan_h=10.25, used=10.25, lost=0.25, restarts=1, failed=1
    )
    assert simulate(LONG, replace(ONE, start_h=0.5), [Trouble(3.25, "failure", 0)]) == Replay(
        makespan_h=11.75, used=11.75, lost=0.75, starting=1.0, restarts=1, failed=1
    )
    assert simulate(LONG, replace(ONE, checkpoint_h=0.0), [Trouble(3.25, "failure", 0)]).lost == 0.0


def test_a_preemption_with_notice_costs_nothing_and_without_it_the_time_since_the_checkpoint() -> None:
    struck = [Trouble(3.25, "preemption", 0)]
    assert simulate(LONG, ONE, struck) == Replay(makespan_h=10.0, used=10.0, restarts=1, preempted=1)
    assert simulate(LONG, replace(ONE, saves_when_preempted=False), struck) == Replay(
        makespan_h=10.25, used=10.25, lost=0.25, restarts=1, preempted=1
    )


def test_a_gpu_is_gone_for_a_while_and_the_run_goes_on_elsewhere_if_it_can() -> None:
    struck = [Trouble(1.0, "failure", 0)]
    assert simulate(LONG, replace(ONE, away_h=2.0), struck).makespan_h == 12.0
    assert simulate(LONG, replace(ONE, gpus=2, away_h=2.0), struck).makespan_h == 10.0


def test_a_failure_ends_all_runs_of_its_node_and_a_preemption_those_of_its_gpu() -> None:
    allocation = Allocation(gpus=4, gpus_per_node=2, checkpoint_h=1.0, saves_when_preempted=False)
    failure = simulate(alone(4, 2.0), allocation, [Trouble(0.5, "failure", 0)])
    assert failure == Replay(makespan_h=2.5, used=9.0, lost=1.0, restarts=2, failed=2)
    preemption = simulate(alone(4, 2.0), allocation, [Trouble(0.5, "preemption", 0)])
    assert preemption == Replay(makespan_h=2.5, used=8.5, lost=0.5, restarts=1, preempted=1)


@pytest.mark.parametrize(("gain", "makespan"), [(0.0, 2.0), (0.5, 4.0 / 3.0), (1.0, 1.0)])
def test_runs_that_share_a_gpu_share_its_hours(gain: float, makespan: float) -> None:
    replay = simulate(alone(2), Allocation(gpus=1, runs_per_gpu=2, sharing_gain=gain))
    assert (replay.makespan_h, replay.used) == pytest.approx((makespan, makespan))
    struck = simulate(alone(2), replace(ONE, runs_per_gpu=2), [Trouble(0.25, "failure", 0)])
    assert struck == Replay(makespan_h=2.25, used=2.25, lost=0.25, restarts=2, failed=2)


def test_troubles_faster_than_checkpoints_are_refused() -> None:
    hopeless = Allocation(gpus=1, checkpoint_h=9.0, failures=2.0)
    with pytest.raises(ValueError, match="the runs get nowhere: troubles come faster than checkpoints"):
        simulate(LONG, hopeless, troubles(hopeless, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 0}, "gpus must be at least 1"),
        ({"gpus": 6, "gpus_per_node": 4}, "gpus = 6 must be a multiple of gpus_per_node = 4"),
        ({"failures": -1.0}, "failures must not be negative"),
        ({"sharing_gain": 1.5}, "sharing_gain must lie in 0..1"),
        ({"time_limit_h": 1.0, "start_h": 1.0}, "time_limit_h must be longer than start_h"),
    ],
)
def test_allocations_without_meaning_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Allocation(**{"gpus": 1, **changes})


def test_troubles_come_in_order_and_as_often_as_asked() -> None:
    allocation = Allocation(gpus=4, failures=0.5, preemptions=1.5)
    drawn = list(itertools.islice(troubles(allocation, 7), 8000))
    assert drawn == sorted(drawn)
    assert drawn == list(itertools.islice(troubles(allocation, 7), 8000))
    assert drawn != list(itertools.islice(troubles(allocation, 8), 8000))
    assert drawn[-1].time_h == pytest.approx(8000 / (4 * 2.0), rel=0.05)
    assert sum(trouble.kind == "failure" for trouble in drawn) == pytest.approx(2000, rel=0.1)
    assert list(troubles(Allocation(gpus=4), 0)) == []


@st.composite
def graphs(draw: st.DrawFn) -> list[SimulatedRun]:
    runs: list[SimulatedRun] = []
    for number in range(draw(st.integers(1, 12))):
        needs = draw(st.lists(st.sampled_from([run.name for run in runs]), unique=True, max_size=3)) if runs else []
        hours = draw(st.integers(1, 40)) / 4.0
        runs.append(SimulatedRun(name=f"r{number}", hours=hours, needs=tuple(needs)))
    return runs


SIZES = st.builds(
    Allocation,
    gpus=st.sampled_from([1, 2, 4, 8]),
    gpus_per_node=st.sampled_from([1, 2]),
    runs_per_gpu=st.integers(1, 3),
    sharing_gain=st.sampled_from([0.0, 0.5, 1.0]),
    checkpoint_h=st.sampled_from([0.25, 1.0]),
)


@settings(deadline=None)
@given(runs=graphs(), allocation=SIZES)
def test_without_trouble_a_replay_lies_between_its_bounds(runs: list[SimulatedRun], allocation: Allocation) -> None:
    """At least the longest chain and all work over all slots; at most their sum, as any list schedule (Graham)."""
    replay = simulate(runs, allocation)
    work = sum(run.hours for run in runs) / allocation.speed
    slots = allocation.gpus * allocation.runs_per_gpu
    chain = Allocation(gpus=1000).lower_bound_h(runs) / allocation.speed
    assert allocation.lower_bound_h(runs) == pytest.approx(max(chain, work / slots))
    assert allocation.lower_bound_h(runs) - 1e-9 <= replay.makespan_h <= work / slots + chain + 1e-9
    assert replay.used == pytest.approx(work / allocation.runs_per_gpu)
    assert (replay.lost, replay.starting, replay.restarts) == (0.0, 0.0, 0)
    assert 0.0 < utilisation(replay, allocation) <= 1.0 + 1e-9


@settings(deadline=None)
@given(
    runs=graphs(),
    allocation=SIZES,
    seed=st.integers(0, 1000),
    failures=st.sampled_from([0.0, 0.02]),
    preemptions=st.sampled_from([0.0, 0.1]),
    notice=st.booleans(),
    start_h=st.sampled_from([0.0, 0.1]),
    time_limit_h=st.sampled_from([2.0, math.inf]),
    away_h=st.sampled_from([0.0, 0.5]),
)
def test_trouble_costs_what_it_may(
    runs: list[SimulatedRun], allocation: Allocation, seed: int, notice: bool, failures: float, preemptions: float,
    start_h: float, time_limit_h: float, away_h: float,
) -> None:  # fmt: skip
    allocation = replace(
        allocation, failures=failures, preemptions=preemptions, saves_when_preempted=notice, start_h=start_h,
        time_limit_h=time_limit_h, away_h=away_h,
    )  # fmt: skip
    replay = simulate(runs, allocation, troubles(allocation, seed))
    work = sum(run.hours for run in runs) / allocation.speed / allocation.runs_per_gpu
    assert replay.used == pytest.approx(work + replay.lost + replay.starting)
    assert replay.restarts == replay.failed + replay.preempted + replay.timed_out
    setbacks = replay.failed + (0 if notice else replay.preempted)
    assert -1e-9 <= replay.lost <= setbacks * allocation.checkpoint_h / allocation.runs_per_gpu + 1e-9
    starts = len(runs) + replay.restarts
    assert -1e-9 <= replay.starting <= starts * start_h / allocation.runs_per_gpu + 1e-9
    assert replay.makespan_h >= allocation.lower_bound_h(runs) - 1e-9
    assert utilisation(replay, allocation) <= 1.0 + 1e-9
    assert replay == simulate(runs, allocation, troubles(allocation, seed))


def test_what_is_left_of_a_grid_is_simulated() -> None:
    runs = load_grid("paper").runs
    cost = estimate(runs, {}, {})
    left = {**cost.left, runs[0].run_id: 0.0}
    simulated = runs_left(runs, left)
    assert len(simulated) == 319
    assert {need for run in simulated for need in run.needs} <= {run.name for run in simulated}
    summary = summarise(simulated, Allocation(gpus=8, preemptions=0.05), 3)
    assert summary.nodes == 8
    makespan = summary.figures["makespan_h"]
    assert makespan.low <= makespan.median <= makespan.high
    assert summary.bound_h <= makespan.low
    assert summary.figures["lost"].high == pytest.approx(0.0, abs=1e-9)
    assert summary.figures["preempted"].low > 0


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["grid", "simulate", *arguments])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_the_command_has_a_row_for_each_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("paper", "--runs-dir", str(tmp_path), "--size", "1k", "--gpus", "2", "4", "--seeds", "2")
    status, out, err = run_cli(capsys, *options, "--json")
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert [size["gpus"] for size in document["sizes"]] == [2, 4]
    work, chain = document["gpu_hours_left"], document["critical_path_h"]
    for size in document["sizes"]:
        assert size["bound_h"] == pytest.approx(max(work / size["gpus"], chain))
        assert size["makespan_h"]["low"] == size["makespan_h"]["high"]
        assert size["lost"] == {"median": 0.0, "low": 0.0, "high": 0.0}
    status, out, err = run_cli(capsys, *options)
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["2", "2"], ["4", "4"]]
    assert err == "median, and range in brackets, of 2 replays\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "--gpus 0: gpus must be at least 1"),
        (["--seeds", "0"], "--seeds 0: expected at least 1"),
        (["--images-per-s", "-3"], "--images-per-s -3: expected a number above 0"),
    ],
)
def test_bad_input_exits_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run_cli(capsys, "demo", *arguments)
    assert (status, out, err) == (2, "", f"error: {message}\n")
