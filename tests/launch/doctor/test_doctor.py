"""cxr doctor on a machine: what it says of cores, memory, packages, GPUs and SLURM; its JSON and exit status."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.devices.check import GpuFacts, TorchFacts
from launch.doctor import machine, slurm, software
from launch.doctor.finding import GIGA, Finding


def doctor(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", "doctor", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80", **({} if path is None else {"PATH": path})}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def levels(found: list[Finding]) -> list[str]:
    return [finding.level for finding in found]


def test_json_alone_and_status_0_where_all_is_well(tmp_path: Path) -> None:
    """Without SLURM on the PATH and without betons and runs nothing of the project's own environment fails."""
    done = doctor("--data-dir", tmp_path, "--runs-dir", tmp_path / "runs", "--json", path=str(tmp_path))
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"], done.stderr) == (0, True, "")
    areas = [finding["area"] for finding in document["findings"]]
    wanted = [
        "python",
        "cores",
        "memory",
        "/dev/shm",
        "data folder",
        "slurm",
        "ffcv",
        "numba",
        "gpu",
        "betons",
        "runs",
    ]
    assert [area for area in wanted if area not in areas] == []
    assert all(bool(finding["fix"]) == (finding["level"] != "ok") for finding in document["findings"])


def test_a_failure_is_told_with_its_fix_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "chexpert.beton").write_bytes(b"torn")
    done = doctor("--data-dir", tmp_path, "--runs-dir", tmp_path / "runs", path=str(tmp_path))
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "fail beton chexpert.beton: " in text
    assert "; convert the dataset again fix: convert the dataset again" in text
    assert done.stdout.splitlines()[-1].endswith(", 1 fail")
    paths = [str(tmp_path), sys.executable, str(Path(__file__).parents[3])]
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and not any(p in line for p in paths)] == []


@pytest.mark.parametrize("text", ["chexpert", "chexpert=", "nosuch=/data"])
def test_a_root_of_another_form_is_refused(text: str) -> None:
    done = doctor("--root", text)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_cores_are_those_that_may_be_used() -> None:
    assert machine.check_cores(8, 8, None, {}).level == "ok"
    assert machine.check_cores(8, 8, 8.0, {}).level == "ok"
    limited = machine.check_cores(8, 8, 1.5, {})
    assert (limited.level, limited.what) == ("warn", "8 of 8 cores usable, but the container gets the time of 1.5")
    assert "SLURM binds" in machine.check_cores(1, 8, None, {"SLURM_JOB_ID": "1"}).what
    assert machine.check_cores(1, 8, None, {}).level == "warn"
    assert machine.check_cores(1, 1, None, {}).level == "ok"


def test_memory_counts_the_containers_limit() -> None:
    assert machine.check_memory(64 * GIGA, None).level == "ok"
    assert machine.check_memory(64 * GIGA, 4 * GIGA).level == "warn"
    assert machine.check_memory(GIGA, None).level == "fail"


def test_limits_are_read_from_both_kinds_of_cgroup(tmp_path: Path) -> None:
    assert (machine.cgroup_cores(tmp_path), machine.cgroup_memory(tmp_path)) == (None, None)
    old = tmp_path / "old"
    for folder, name, text in (
        ("cpu", "cpu.cfs_quota_us", "150000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("memory", "memory.limit_in_bytes", "9223372036854771712"),
    ):
        (old / folder).mkdir(parents=True, exist_ok=True)
        (old / folder / name).write_text(text)
    assert (machine.cgroup_cores(old), machine.cgroup_memory(old)) == (1.5, None)
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert (machine.cgroup_cores(tmp_path), machine.cgroup_memory(tmp_path)) == (4.0, GIGA)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cgroup_cores(tmp_path) is None


def test_folders_open_files_and_shared_memory(tmp_path: Path) -> None:
    assert machine.check_open_files(256).level == "warn"
    assert machine.check_open_files(65536).level == "ok"
    assert machine.check_shared_memory(tmp_path / "absent").level == "warn"
    assert machine.check_folder("data folder", tmp_path / "new" / "er").what.endswith("(not made yet)")
    (tmp_path / "file").write_text("")
    assert machine.check_folder("data folder", tmp_path / "file").level == "fail"


def test_packages_that_are_missing_or_old_are_named() -> None:
    wanted = [
        "numpy>=2.0",
        "torch>=99",
        "no-such-package>=1",
        'no-dicom>=3; extra == "dicom"',
        'x>=1; extra == "test"',
    ]
    found = list(software.check_packages([*wanted, 'no-windows>=1; sys_platform == "win32"']))
    assert levels(found) == ["ok", "fail", "fail", "warn"]
    assert found[0].what.startswith("1 packages as pyproject.toml asks; numpy ")
    assert found[1].what.endswith("is installed; expected >=99")
    assert found[2].what == "no-such-package is not installed"
    assert (found[3].what, found[3].fix) == (
        "no-dicom is not installed; DICOM files need it",
        "pip install 'cxr-harness[dicom]'",
    )


def test_python_is_compared_with_what_the_project_asks() -> None:
    assert [software.check_python(v, ">=3.11").level for v in ((3, 10), (3, 11), (3, 13), (3, 14))] == [
        *("fail", "ok", "ok", "warn")
    ]


def facts(**changes: object) -> GpuFacts:
    values = {
        "name": "H",
        "memory_bytes": 80 * GIGA,
        "free_bytes": 79 * GIGA,
        "bf16": True,
        "problem": "",
        "nvjpeg": "",
    }
    return GpuFacts(**{**values, **changes})  # type: ignore[arg-type]


def test_no_gpu_is_well_but_one_that_torch_does_not_see_is_not() -> None:
    none = TorchFacts(built_for="13.0", gpus=(), why_none="driver too old")
    assert levels(list(machine.judge(none, []))) == ["ok"]
    (found,) = machine.judge(none, ["NVIDIA H100"])
    assert (found.level, "driver too old" in found.what) == ("fail", True)
    without = TorchFacts(built_for=None, gpus=(), why_none="")
    assert levels(list(machine.judge(without, ["NVIDIA H100"]))) == ["fail"]


def test_gpus_are_judged_one_by_one() -> None:
    gpus = (facts(), facts(problem="no kernel image"), facts(free_bytes=GIGA), facts(nvjpeg="cuda cannot"))
    found = list(machine.judge(TorchFacts(built_for="13.0", gpus=gpus, why_none=""), []))
    assert levels(found) == ["ok", "ok", "fail", "warn", "ok", "ok", "warn"]


def commands(folder: Path, **scripts: str) -> str:
    """A PATH with shell scripts in the place of SLURM's commands."""
    folder.mkdir()
    for name in slurm.COMMANDS:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{scripts.get(name, 'exit 0')}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    if "sacct" in scripts:
        (folder / "sacct").write_text(f"#!/bin/sh\n{scripts['sacct']}\n")
        (folder / "sacct").chmod(0o755)
    return str(folder)


def test_slurm_is_judged_by_what_its_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [finding.what for finding in slurm.check_slurm()] == [
        "no SLURM on this host; cxr grid submit runs on this machine"
    ]
    info = 'case "$1" in --version) echo slurm 22.05.8;; *) echo "gpu* up 4 gpu:h100:8";; esac'
    monkeypatch.setenv("PATH", commands(tmp_path / "well", sinfo=info, squeue="echo job", sacct="echo 1"))
    found = list(slurm.check_slurm())
    assert levels(found) == ["ok"] * 4
    assert [finding.what for finding in found] == [
        "slurm 22.05.8",
        "the queue answers; 1 jobs of yours",
        "partitions: gpu* (4 nodes, gpu:h100:8)",
        "accounting answers",
    ]
    off = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
    monkeypatch.setenv("PATH", commands(tmp_path / "off", sinfo="echo slurm 18.08.1", sacct=off))
    assert levels(list(slurm.check_slurm())) == ["warn", "ok", "ok", "warn"]
    monkeypatch.setenv(
        "PATH", commands(tmp_path / "down", squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    )
    (found_down,) = slurm.check_slurm()
    assert (found_down.level, "Unable to contact" in found_down.what) == ("fail", True)
    unconfigured = "echo 'squeue: fatal: Could not establish a configuration source' >&2; exit 1"
    monkeypatch.setenv("PATH", commands(tmp_path / "bare", squeue=unconfigured))
    assert levels(list(slurm.check_slurm())) == ["warn"]
    (tmp_path / "bare" / "sbatch").unlink()
    (missing,) = slurm.check_slurm()
    assert (missing.level, missing.what.startswith("sbatch not found")) == ("fail", True)
