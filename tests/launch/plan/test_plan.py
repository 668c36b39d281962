"""Grids, decisions as a table, and the order in which runs start."""

from __future__ import annotations

import pytest
from grid_stand_in import small_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from launch.grids.grid import Grid, GridRun, needs_first
from launch.grids.registry import load_grid
from launch.grids.selection import Selection
from launch.plan.cost import critical_paths, run_work
from launch.plan.decide import decide
from launch.plan.run_state import RunState, State

RUNS = small_runs()
PAIR = [RUNS["pretrain"], RUNS["a"]]


def decided(states: dict[str, RunState], runs: list[GridRun] | None = None) -> dict[str, tuple[str, str]]:
    found = {RUNS[name].run_id: state for name, state in states.items()}
    return {d.run.name: (d.action, d.reason) for d in decide(runs or PAIR, found)}


@pytest.mark.parametrize(
    ("need", "student", "need_decision", "student_decision"),
    [
        ("absent", "absent", ("run", "not started"), ("wait", "needs pretrain")),
        ("partial", "absent", ("run", "goes on from its checkpoint"), ("wait", "needs pretrain")),
        ("failed", "absent", ("run", "tried again; failed before: see its log"), ("wait", "needs pretrain")),
        ("running", "absent", ("wait", "runs already"), ("wait", "needs pretrain")),
        ("running", "running", ("wait", "runs already"), ("wait", "runs already")),
        ("done", "absent", ("skip", "done"), ("run", "not started")),
        ("done", "partial", ("skip", "done"), ("run", "goes on from its checkpoint")),
        ("done", "running", ("skip", "done"), ("wait", "runs already")),
        ("done", "done", ("skip", "done"), ("skip", "done")),
        ("absent", "done", ("run", "not started"), ("skip", "done")),
        ("stale", "absent", ("blocked", "old"), ("blocked", "needs pretrain, computed from other data; see there")),
        ("stale", "done", ("blocked", "old"), ("blocked", "needs pretrain, computed from other data; see there")),
        ("done", "stale", ("skip", "done"), ("blocked", "old")),
        ("absent", "stale", ("run", "not started"), ("blocked", "old")),
    ],
)
def test_decisions(need: State, student: State, need_decision: object, student_decision: object) -> None:
    states = {
        name: RunState(state=state, error="old" if state == "stale" else None)
        for name, state in (("pretrain", need), ("a", student))
    }
    assert decided(states) == {"pretrain": need_decision, "a": student_decision}


def test_reasons_carry_what_is_known() -> None:
    runs = [RUNS["pretrain"], RUNS["teacher"]]
    states = {
        "pretrain": RunState(state="running", epoch=3, epochs=128),
        "teacher": RunState(state="done", mean_auroc=0.83354),
    }
    assert decided(states, runs) == {
        "pretrain": ("wait", "runs already, 3 of 128 epochs"),
        "teacher": ("skip", "done, test AUROC 0.8335"),
    }
    states = {
        "pretrain": RunState(state="partial", epoch=3, epochs=128),
        "teacher": RunState(state="failed", error="E: x"),
    }
    assert decided(states, runs) == {
        "pretrain": ("run", "goes on from its checkpoint, 3 of 128 epochs"),
        "teacher": ("run", "tried again; failed before: E: x"),
    }


def test_a_blocked_need_blocks_what_needs_its_dependants() -> None:
    actions = decided({"pretrain": RunState(state="stale", error="old")}, list(RUNS.values()))
    assert {name: action for name, (action, _reason) in actions.items()} == {
        "pretrain": "blocked",
        "teacher": "run",
        "a": "blocked",
        "b": "wait",
        "c": "blocked",
        "d": "blocked",
    }
    assert actions["d"][1] == "needs a, which is blocked"


def test_a_need_outside_the_plan_must_be_done() -> None:
    assert decided({}, [RUNS["a"]])["a"][0] == "blocked"
    assert decided({"pretrain": RunState(state="done")}, [RUNS["a"]])["a"] == ("run", "not started")


STATES = st.sampled_from(["absent", "partial", "running", "done", "failed", "stale"])


@settings(deadline=None, max_examples=100)
@given(states=st.fixed_dictionaries(dict.fromkeys(RUNS, STATES)), order=st.permutations(list(RUNS)))
def test_laws_of_decisions(states: dict[str, State], order: list[str]) -> None:
    found = {RUNS[name].run_id: RunState(state=state) for name, state in states.items()}
    decisions = decide([RUNS[name] for name in order], found)
    action = {decision.run.run_id: decision.action for decision in decisions}
    assert len(decisions) == len(RUNS)
    for position, decision in enumerate(decisions):
        state = found[decision.run.run_id].state
        before = {earlier.run.run_id for earlier in decisions[:position]}
        assert set(decision.run.needs) <= before
        if decision.action == "run":
            assert state in ("absent", "partial", "failed")
            assert all(found[need].state == "done" for need in decision.run.needs)
        if decision.action == "skip":
            assert state == "done"
        if state not in ("done", "running") and any(action[need] == "blocked" for need in decision.run.needs):
            assert decision.action == "blocked"
    if all(state == "absent" for state in states.values()):
        assert "run" in action.values()


def test_needs_first_keeps_the_order_where_it_can() -> None:
    assert [run.name for run in needs_first([RUNS[name] for name in ("d", "c", "b")])] == ["d", "c", "b"]
    assert [run.name for run in needs_first([RUNS[name] for name in ("d", "a", "pretrain")])] == [
        "pretrain",
        "a",
        "d",
    ]


def test_a_grid_refuses_repeated_and_missing_runs() -> None:
    with pytest.raises(ValueError, match="share the run id"):
        Grid(name="x", runs=(RUNS["pretrain"], GridRun(name="y", kind="search", config=RUNS["pretrain"].config)))
    with pytest.raises(ValueError, match="share the name"):
        Grid(
            name="x", runs=(RUNS["pretrain"], GridRun(name="pretrain", kind="search", config=RUNS["teacher"].config))
        )
    with pytest.raises(ValueError, match="grid x: a need is not in the grid: a needs chexpert"):
        Grid(name="x", runs=(RUNS["a"],))


def test_selecting_by_name_adds_what_is_needed() -> None:
    grid = Grid(name="x", runs=tuple(reversed(RUNS.values())))
    assert {run.name for run in Selection(only="d").choose(grid)} == {"pretrain", "teacher", "a", "d"}
    assert [run.name for run in Selection(only="b").choose(grid)] == ["teacher", "b"]
    assert Selection().choose(grid) == grid.runs
    assert [run.name for run in Selection(only="b").choose(grid, with_needs=False)] == ["b"]
    with pytest.raises(InputError, match="--only zzz: no run of grid x"):
        Selection(only="zzz").choose(grid)


def test_an_unknown_grid_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="did you mean paper"):
        load_grid("papre")
    with pytest.raises(InputError, match="known: demo, paper"):
        load_grid("x")


def test_costs_and_critical_paths() -> None:
    splits = {"chexpert": {"train": 150, "validation": 50}}
    supervised, transfer = RUNS["a"].config, RUNS["b"].config
    assert run_work(supervised, splits).passes == 128 * (150 * 3 + 50)
    assert run_work(transfer, splits).passes == 128 * (150 * 4 + 50)
    assert run_work(supervised, {}).passes == 128 * (200 * 3 + 22_101)
    paths = critical_paths(list(RUNS.values()), splits)
    tl, at = 128 * 500.0, 128 * 650.0
    expected = {"pretrain": tl + tl + at, "teacher": tl + at, "a": tl + at, "b": at, "c": at, "d": at}
    assert {name: paths[run.run_id] for name, run in RUNS.items()} == expected
