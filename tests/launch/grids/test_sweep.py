"""``cxr grid sweep``: the grid that it makes of a config and lists of values, and what it refuses."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grid_stand_in import small_runs
from in_process_cli import run_cli

from datasets.errors import InputError
from harness.training.config_file import load_config
from launch.cli.commands import COMMANDS
from launch.cli.grid import submit
from launch.cli.grid.plan import GridOptions, GridView
from launch.cli.grid.submit import Retry, Submit
from launch.executors.prepare import prepare_folder
from launch.grids.grid import GridRun
from launch.grids.sweep import sweep_toml
from launch.grids.toml_file import grid_of
from launch.plan.run_state import RunState

RUN = """seed = 4
data = { dataset = "chexpert", image_size = 64 }
network.name = "densenet40"
init.kind = "none"

[runtime]
precision = "fp32"
"""
BIG = RUN.replace("densenet40", "densenet121")  # which can teach
SETTINGS = ["schedule.learning_rate=1e-4,5e-5", "data.subset=200,1k", "schedule.epochs=3"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN)
    return path


def test_a_config_of_several_datasets_is_one_run_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text('data = [{ dataset = "chexpert", subset = "1k" }, { dataset = "hospital" }]')
    (run,) = grid_of(tomllib.loads(sweep_toml(path, ["schedule.epochs=3"])), "here").runs
    assert (run.config.data.dataset, run.config.data.subset) == ("chexpert+hospital", "1k+full")


def test_a_sweep_is_a_grid_of_all_combinations_and_seeds(config: Path) -> None:
    text = sweep_toml(config, SETTINGS, 2)
    assert text == (
        'name = "run_sweep"\n\n[[runs]]\nname = "run_{schedule.learning_rate}_{size}"\nseeds = 2\n'
        'data.dataset = "chexpert"\ndata.image_size = 64\ndata.subset = ["200", "1k"]\n'
        'network.name = "densenet40"\ninit.kind = "none"\n'
        "schedule.learning_rate = [0.0001, 5e-05]\nschedule.epochs = 3\n"
    )
    runs = {run.name: run.config for run in grid_of(tomllib.loads(text), "here").runs}
    rates, sizes = {"0.0001": 1e-4, "5e-05": 5e-5}, ("200", "1k")
    assert set(runs) == {f"run_{rate}_{size}_r{seed}" for rate in rates for size in sizes for seed in (0, 1)}
    base, _ = load_config(config)
    schedule = replace(base.schedule, learning_rate=5e-5, epochs=3)
    assert runs["run_5e-05_1k_r1"] == replace(base, data=replace(base.data, subset="1k"), schedule=schedule, seed=1)


def test_without_values_or_seeds_a_sweep_is_the_run_itself(config: Path) -> None:
    (run,) = grid_of(tomllib.loads(sweep_toml(config, [])), "here").runs
    assert (run.name, run.config) == ("run", load_config(config)[0])


def test_runs_that_the_config_names_by_folder_come_first(config: Path, tmp_path: Path) -> None:
    config.write_text(BIG)
    first = prepare_folder(GridRun(name="a", kind="repetition", config=load_config(config)[0]), tmp_path / "runs")
    second = tmp_path / "second.toml"
    second.write_text(BIG.replace('init.kind = "none"', f'init = {{ kind = "run", run = "{first.path}" }}'))
    made = load_config(second)[0]
    folder = prepare_folder(GridRun(name="b", kind="repetition", config=made), tmp_path / "runs")
    third = tmp_path / "third.toml"
    teacher = (
        f'objective = {{ method = "attention_transfer", teacher.kind = "run", teacher.run = "{folder.path}" }}\n'
    )
    third.write_text(BIG.replace("\n[runtime]", teacher + "\n[runtime]"))
    grid = grid_of(tomllib.loads(sweep_toml(third, ["objective.beta=1,10"])), "here")
    assert [run.name for run in grid.runs] == [
        f"need_{first.path.name}",
        f"need_{made.run_id}",
        "third_1",
        "third_10",
    ]
    assert grid.runs[3].needs == (made.run_id,)
    objective = replace(load_config(third)[0].objective, beta=10.0)
    assert grid.runs[3].config == replace(load_config(third)[0], objective=objective)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs"], "--set epochs: expected KEY=VALUE,VALUE, as schedule.learning_rate=1e-4,5e-5"),
        (["schedule.epochs="], "--set schedule.epochs=: expected KEY=VALUE"),
        (["schedule.epoch=1,2"], "schedule.epoch: unknown key; did you mean epochs?"),
        (["seed.x=1"], "--set seed.x: seed is a single value, not a table of keys"),
        (["schedule.epochs=1,many"], "schedule.epochs: Input should be a valid integer, found 'many'"),
        (["schedule.epochs=1,1"], "would name two runs; the two are the same run"),
    ],
)
def test_a_wrong_setting_is_named(config: Path, settings: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        sweep_toml(config, settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_grid_is_printed_written_and_submitted(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted: list[list[str]] = []
    monkeypatch.setattr(
        Submit,
        "run",
        lambda self: submitted.append([self.request(self.look(), ()).grid, *(run.name for run in self.load().runs)]),
    )
    command = ["grid", "sweep", str(config), "--set", "schedule.epochs=1,2", "--seeds", "1"]
    written = config.with_name("run_sweep.toml")
    assert run_cli(*command, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert not written.exists()
    assert run_cli(*command) == 0
    assert capsys.readouterr().out == shown == written.read_text() + "\n"
    assert run_cli(*command) == 0  # goes on with it
    assert submitted == [[str(written), "run_1_r0", "run_2_r0"]] * 3  # jobs and hooks are told the written grid
    capsys.readouterr()
    assert run_cli(*command[:-1], "2") == 2
    assert f"{written} holds another grid; remove it, or give --out" in capsys.readouterr().err
    assert run_cli(*command[:-1], "0") == 2
    assert "--seeds 0: expected at least 1" in capsys.readouterr().err


def test_all_commands_of_a_grid_take_the_options_that_they_share() -> None:
    of_a_grid = [
        name for name in COMMANDS if name.startswith("grid ") and name != "grid drill"
    ]  # it has its own grid
    commands = {name: COMMANDS[name].load() for name in of_a_grid}
    assert len(commands) >= 9
    assert [name for name, command in commands.items() if not issubclass(command, GridOptions)] == []


def test_retry_takes_cancelled_runs_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = small_runs()
    states = {run.run_id: RunState(state="done") for run in runs.values()}
    states |= {runs["a"].run_id: RunState(state="failed"), runs["b"].run_id: RunState(state="cancelled")}

    def look(self: Any) -> GridView:
        return GridView(tuple(runs.values()), {}, states, {})

    monkeypatch.setattr(submit.GridOptions, "look", look)
    assert [run.name for run in Retry(grid="g").look().runs] == ["pretrain", "a"]
    assert [run.name for run in Retry(grid="g", cancelled=True).look().runs] == ["pretrain", "teacher", "a", "b"]
    states[runs["a"].run_id] = RunState(state="done")
    with pytest.raises(InputError, match="no run of grid g has failed; --cancelled takes its 1 cancelled run"):
        Retry(grid="g").look()
