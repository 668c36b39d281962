"""Runtime options of ``cxr grid submit`` that reach the ``cxr train`` of every run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import launch.executors.slurm
from launch.cli import main

EXAMPLE = Path(str(launch.executors.slurm.__file__)).parent / "example.toml"


def test_options_reach_the_command_of_a_queued_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--xrv-weights", "a.pt", "b.pt", "--tier", "raw", "--augment-on", "cpu", "--checkpoint-minutes", "2.5"]
    with pytest.raises(SystemExit) as caught:
        main(["grid", "submit", "demo", "--cluster", str(EXAMPLE), "--dry-run", *options])
    assert caught.value.code == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[words.index("--xrv-weights") :] == [
        *("--xrv-weights", f"{tmp_path}/a.pt", f"{tmp_path}/b.pt", "--tier", "raw"),
        *("--augment-on", "cpu", "--checkpoint-minutes", "2.5"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--xrv-weights", "none.pt"], "error: --xrv-weights none.pt: no such file\n"),
        (["--checkpoint-minutes", "-1"], "error: --checkpoint-minutes -1: expected 0 or more\n"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["grid", "submit", "demo", "--runs-dir", str(tmp_path / "runs"), *options])
    assert caught.value.code == 2
    assert capsys.readouterr().err == message
    assert not (tmp_path / "runs").exists()


def test_a_percent_sign_in_the_runs_folder_is_refused_for_slurm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SLURM replaces it in the paths of its logs: the jobs would write elsewhere, or nowhere."""
    runs_dir = tmp_path / "50%j"
    with pytest.raises(SystemExit) as caught:
        main(["grid", "submit", "demo", "--cluster", str(EXAMPLE), "--dry-run", "--runs-dir", str(runs_dir)])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"error: --runs-dir {runs_dir}: SLURM would replace the % in its path; take one without\n"
    )
