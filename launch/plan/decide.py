"""Decide what is to be done about each run of a grid, from the states of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.grids.grid import GridRun, needs_first
from launch.plan.run_state import ABSENT, RunState

Action = Literal["skip", "run", "wait", "blocked"]

NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is to be done about one run, and why."""

    run: GridRun
    action: Action
    """``skip`` (done), ``run`` (can start now), ``wait`` (for its needs, or it runs already), ``blocked`` (a person
    must act, here or at a need)."""
    reason: str


def decide(wanted: Sequence[GridRun], found: Mapping[str, RunState]) -> list[Decision]:
    """Return one decision for each wanted run, needs first; ``found`` is by run id, a missing id is absent.

    A failed run is run again: whoever submits again has seen the failure. A need outside ``wanted`` must be done.
    """
    decisions: dict[str, Decision] = {}
    names = {run.run_id: run.name for run in wanted}
    for run in needs_first(wanted):
        action, reason = _decide(run, found, decisions, names)
        decisions[run.run_id] = Decision(run=run, action=action, reason=reason)
    return list(decisions.values())


def _decide(
    run: GridRun, found: Mapping[str, RunState], decided: Mapping[str, Decision], names: Mapping[str, str]
) -> tuple[Action, str]:
    state = found.get(run.run_id, ABSENT)
    if state.state in ("stale", "damaged"):
        return "blocked", state.error or "computed from other data than now"
    if state.state == "queued":
        return "wait", f"queued as job {state.job} ({state.waits_for or 'waiting'})"
    if state.state == "running":
        return "wait", ", ".join(filter(None, (where_it_runs(state), state.progress)))
    stale = [need for need in run.needs if found.get(need, ABSENT).state == "stale"]
    if state.state == "done" and not stale:
        return "skip", "done" if state.mean_auroc is None else f"done, test AUROC {state.mean_auroc:.4f}"
    if stale:
        return "blocked", f"needs {_listed(stale, names)}, computed from other data; see there"
    blocked = [need for need in run.needs if need in decided and decided[need].action == "blocked"]
    if blocked:
        return "blocked", f"needs {_listed(blocked, names)}, which is blocked"
    open_needs = [need for need in run.needs if found.get(need, ABSENT).state != "done"]
    outside = [need for need in open_needs if need not in decided]
    if outside:
        return "blocked", f"needs {_listed(outside, names)}, neither done nor in this plan"
    if open_needs:
        return "wait", f"needs {_listed(open_needs, names)}"
    return "run", _why_now(state)


def where_it_runs(state: RunState) -> str:
    """Return where a running run is, and what to do when that is no longer true."""
    if state.job is not None:
        return f"runs as job {state.job}"
    if state.host is None:
        return "runs already"
    return f"runs already on host {state.host} (should that be gone, delete the run's status.json)"


def _why_now(state: RunState) -> str:
    if state.state == "failed":
        return f"tried again; failed before: {state.error or 'see its log'}"
    if state.state == "cancelled":
        return ", ".join(filter(None, ("goes on after it was cancelled", state.progress)))
    if state.state == "partial":
        return ", ".join(filter(None, ("goes on from its checkpoint", state.progress)))
    return "not started"


def _listed(run_ids: Sequence[str], names: Mapping[str, str]) -> str:
    shown = [names.get(run_id, run_id) for run_id in run_ids[:NAMES_SHOWN]]
    more = len(run_ids) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
