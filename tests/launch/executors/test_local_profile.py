"""A profile of this machine: its keys are options of submit, which overrule them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datasets.errors import InputError
from launch.executors.base import SubmitRequest
from launch.executors.local.executor import LocalExecutor
from launch.executors.local.profile import with_profile
from launch.executors.prepare import TrainCommand

ALL = 'runs_per_gpu = 3\nmps = true\nthreads_per_run = 4\ndevice = "cuda"\non_end = "true"\n'


def shared(folder: Path, text: str, command: dict[str, Any] | None = None, **options: Any) -> tuple[Any, ...]:
    """What runs share by a profile of this text and by options."""
    (folder / "machine.toml").write_text(text)
    train = TrainCommand(
        runs_dir=folder, data_dir=folder, **{"precision": "auto", "device": "auto", **(command or {})}
    )
    found = with_profile(SubmitRequest(grid="g", plan=[], command=train, profile=folder / "machine.toml", **options))
    return (
        *(found.slots, found.runs_per_gpu, found.mps, found.on_end),
        *(found.command.num_threads, found.command.device),
    )


def test_each_key_is_the_option_of_its_name(tmp_path: Path) -> None:
    assert shared(tmp_path, ALL) == (None, 3, True, "true", 4, "cuda")
    assert shared(tmp_path, "slots = 5\n") == (5, None, False, None, None, "auto")


def test_options_overrule_the_profile(tmp_path: Path) -> None:
    """A count of either kind overrules both."""
    command = {"device": "cpu", "num_threads": 1}
    assert shared(tmp_path, ALL, command, slots=2, on_end="false") == (2, None, True, "false", 1, "cpu")
    assert shared(tmp_path, "slots = 5\n", runs_per_gpu=2) == (None, 2, False, None, None, "auto")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus = 2\n", "machine.toml: key 'gpus' is unknown; known: slots"),
        ("slots = 0\n", "machine.toml: slots: Input should be greater than or equal to 1"),
        (
            "[[place]]\nwhen = 'seed == 0'\n",
            r"machine.toml: \[\[place\]\] is for profiles of --executor slurm alone; ",
        ),
        ("slots = 2\nruns_per_gpu = 2\n", "slots counts the runs of all GPUs together, runs_per_gpu of each"),
    ],
)
def test_wrong_profiles_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        shared(tmp_path, text)


def test_a_submit_follows_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "machine.toml").write_text('device = "cuda"\n')
    train = TrainCommand(runs_dir=tmp_path, data_dir=tmp_path, precision="auto", device="auto")
    request = SubmitRequest(grid="g", plan=[], command=train, profile=tmp_path / "machine.toml")
    with pytest.raises(InputError, match="--device cuda: neither nvidia-smi nor CUDA_VISIBLE_DEVICES shows a GPU"):
        LocalExecutor("local", tmp_path).submit(request)
