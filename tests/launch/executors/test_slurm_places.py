"""Places of a cluster profile: which run goes where, what a plan says of it, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from grid_stand_in import small_runs
from in_process_cli import run_cli

from datasets.errors import InputError
from launch.executors.slurm.places import ProfilePlace, load_places, placed
from launch.executors.slurm.profile import ClusterConfig, load_profile
from launch.executors.slurm.sbatch import sbatch_parameters

RUNS = small_runs()
PROFILE = """\
partition = "small"
array_parallelism = 8
sbatch = { reservation = "night", comment = "cxr" }

[[place]]
when = "kind == 'prerequisite'"
partition = "large"
time_min = 60
sbatch = { comment = "first" }

[[place]]
when = "seed <= 2"
max_running = 4
max_nice = 20
"""


def places(tmp_path: Path, text: str = PROFILE) -> tuple[ProfilePlace, ...]:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    return load_places(path)


def test_a_run_goes_to_the_first_place_whose_rule_it_meets_and_differs_in_its_keys_alone(tmp_path: Path) -> None:
    found = placed(list(RUNS.values()), places(tmp_path))
    names = {name: found[run.run_id].name for name, run in RUNS.items()}
    others = dict.fromkeys("bcd", "the profile")
    assert names == {"pretrain": "place 1", "teacher": "place 1", "a": "place 2", **others}
    first, second, own = (place.cluster for place in places(tmp_path))
    assert (first.partition, first.time_min, first.array_parallelism) == ("large", 60, 8)
    assert (first.sbatch, own.sbatch["comment"]) == ({"reservation": "night", "comment": "first"}, "cxr")
    assert (second.partition, second.max_running, own.max_running) == ("small", 4, None)
    assert load_profile(tmp_path / "profile.toml") == own
    parameters = sbatch_parameters(second, "cxr-x", None, 20)
    assert (parameters["array_parallelism"], parameters["additional_parameters"]["nice"]) == (4, 20)
    assert len({place.cluster.digest for place in places(tmp_path)}) == 3


def test_the_digest_of_a_profile_from_before_is_what_it_was() -> None:
    """Digests that were recorded with queued runs before there were places."""
    assert ClusterConfig().digest == "9f576894ca3bd0be"
    assert ClusterConfig(max_running=4).digest != ClusterConfig().digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[place]\nwhen = 'seed == 1'", "place: expected tables, each under a line [[place]]"),
        ("[[place]]\npartition = 'x'", "place 1: expected a rule for its runs, as when = "),
        (
            "[[place]]\nwhen = 'seed = 1'",
            "place 1: when = 'seed = 1': expected comparisons of a run's keys with values",
        ),
        ("[[place]]\nwhen = 'seed > 1'\n[[place]]\nwhen = 'sed > 1'", "place 2: when = 'sed > 1': sed is unknown"),
        (
            "[[place]]\nwhen = 'seed > 1'\npartitoin = 'x'",
            "place 1: key 'partitoin' is unknown; did you mean partition",
        ),
        (
            "[[place]]\nwhen = 'seed > 1'\ntime_min = 2",
            "place 1: signal_delay_s must lie between 0 and the time limit",
        ),
        ("max_nice = 5\n[sbatch]\nnice = 3", "sbatch.nice: is set by max_nice"),
    ],
)
def test_a_wrong_place_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        places(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_that_a_run_cannot_answer_names_its_place(tmp_path: Path) -> None:
    made = places(tmp_path, "[[place]]\nwhen = 'data.size == 64'")
    with pytest.raises(InputError, match=r"profile\.toml: place 1: when: data\.size is unknown"):
        placed(list(RUNS.values()), made)


def test_a_plan_counts_the_runs_and_hours_of_each_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("[[place]]\nwhen = \"subset == '178k'\"\npartition = 'long'\n[[place]]\nwhen = 'seed > 9'\n")
    options = ("--cluster", str(profile), "--runs-dir", str(tmp_path / "runs"))
    assert run_cli("grid", "plan", "paper", "--json", *options) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "warning: " in err and "place 2 (when = 'seed > 9'): none of these runs is placed there" in err
    rows = {row.pop("place"): row for row in document["places"]}
    assert {name: (row["partition"], row["runs"]) for name, row in rows.items()} == {
        "place 1": ("long", 42),
        "place 2": (None, 0),
        "the profile": (None, 278),
    }
    hours: Counter[str] = Counter()
    for run in document["runs"]:
        full = run["config"]["dataset"] == "chexpert" and run["config"]["subset"] == "full"
        hours["place 1" if full else "the profile"] += run["cost"]["gpu_hours"]
    assert {name: row["gpu_hours"] for name, row in rows.items() if row["runs"]} == pytest.approx(dict(hours))
    assert run_cli("grid", "plan", "paper", "--size", "178k", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = (line.split() for line in lines if line.startswith("place 1"))
    assert row[:7] == ["place", "1", "long", "subset", "==", "'178k'", "42"]
