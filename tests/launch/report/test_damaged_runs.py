"""Damaged files in a run folder: that run is named, the others are reported; never a traceback or a hang."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzed_child import Feed, changed, damaged, fuzzed
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from in_process_cli import rendered
from report_fixtures import student, write_run

from datasets.errors import InputError
from launch.grids.grid import GridRun
from launch.plan.run_state import read_states
from launch.plan.tables import status_tables
from launch.report.build import build_report
from launch.report.read.collect import collect

CURVE = ((0.6, 0.55), (0.7, 0.6), (0.75, 0.62))
GOOD, BAD = student(), student(seed=1)
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def _template() -> Path:
    """Two done runs of one cell."""
    runs = Path(tempfile.mkdtemp())
    for config in (GOOD, BAD):
        folder = write_run(runs, config, 0.7, curve=CURVE)
        (folder / "status.json").write_text(json.dumps({"state": "done", "epoch": 3, "epochs": 3, "updated": 1.0}))
    return runs


def _with(given: tuple[str, bytes]) -> Path:
    """A copy of the two runs in which one file of the second is replaced."""
    name, content = given
    runs = Path(tempfile.mkdtemp()) / "runs"
    shutil.copytree(TEMPLATE, runs)
    (runs / BAD.run_id / name).write_bytes(content)
    return runs


def read(given: tuple[str, bytes]) -> None:
    runs = _with(given)
    try:
        assert GOOD.run_id in {run.run_id for run in collect(runs).runs}
        wanted = [GridRun(name=str(config.seed), kind="repetition", config=config) for config in (GOOD, BAD)]
        for name in ("", "result.json"):
            if name:  # the same of a run that is not done
                (runs / BAD.run_id / name).unlink()
            states = read_states(wanted, runs, {})
            assert states[GOOD.run_id].state == "done"
            json.dumps(list(map(dataclasses.asdict, states.values())), allow_nan=False)
            rendered(status_tables(wanted, states, {}), 120)
    finally:
        shutil.rmtree(runs.parent)


def report(given: tuple[str, bytes]) -> None:
    runs = _with(given)
    try:
        build_report(runs, runs / "report")
        assert GOOD.run_id in (runs / "report" / "index.html").read_text()
    finally:
        shutil.rmtree(runs.parent)


TEMPLATE = _template()
JSON_FILES = ("config.json", "status.json", "provenance.json", "result.json")
FILES = (*JSON_FILES, "metrics.jsonl", "predictions.parquet")
CONTENTS = {name: (TEMPLATE / BAD.run_id / name).read_bytes() for name in FILES}


NO_CHARACTER = json.dumps(
    json.loads(CONTENTS["provenance.json"]) | {"git": {"commit": "\ud800", "dirty": False}}
).encode()


def damaged_file(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), damaged([CONTENTS[name]])))


def odd_file() -> st.SearchStrategy[tuple[str, bytes]]:
    return st.sampled_from(JSON_FILES).flatmap(
        lambda name: changed([json.loads(CONTENTS[name])]).map(
            lambda document: (name, json.dumps(document).encode(errors="surrogatepass"))
        )
    )


@pytest.fixture(scope="module")
def reader() -> Iterator[Feed]:
    with fuzzed(read, ()) as feed:
        yield feed


@pytest.fixture(scope="module")
def reporter() -> Iterator[Feed]:
    with fuzzed(report, (InputError,)) as feed:
        yield feed


@EXAMPLES
@given(given=damaged_file(FILES))
def test_damaged_files_are_read(reader: Feed, given: tuple[str, bytes]) -> None:
    reader(given)


@EXAMPLES
@given(given=odd_file())
def test_odd_values_are_read(reader: Feed, given: tuple[str, bytes]) -> None:
    reader(given)


@settings(EXAMPLES, max_examples=8)
@given(given=damaged_file(FILES) | odd_file())
@example(given=("provenance.json", NO_CHARACTER))
def test_a_report_of_the_other_runs_is_written(reporter: Feed, given: tuple[str, bytes]) -> None:
    reporter(given)
