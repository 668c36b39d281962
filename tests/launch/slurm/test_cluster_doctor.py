"""``cxr doctor --cluster``: a profile compared with a real cluster, without a job."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import Cluster

from launch.doctor.slurm import _check_partition, check_profile, limit_minutes
from launch.executors.slurm.profile import ClusterConfig


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_profile_is_compared_with_the_cluster_before_anything_is_queued(cluster: Cluster, tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    good = 'partition = "gpu"\nconstraint = "fast"\ncpus_per_task = 1\ntime_min = 90\n'
    profile.write_text(good)
    (only,) = check_profile(profile)
    assert (only.level, only.what.endswith("and sbatch would take its jobs")) == ("ok", True)
    for change, words in {
        ('"gpu"', '"nope"'): "partition = 'nope' is none of ",
        ('"fast"', '"fast&hopper"'): "constraint = 'fast&hopper': no node of the partition has hopper; features are ",
        ("cpus_per_task = 1", "cpus_per_task = 64"): "the profile asks for 1 node with 64 cores and 1 GPU; of the ",
        ("time_min", "mem_gb = 9000\ntime_min"): "the profile asks for 1 node with 9000 GB, 1 core and 1 GPU; of ",
        ("time_min = 90", 'time_min = 90\n[sbatch]\nreservation = "night"'): "sbatch would refuse its jobs: ",
        ("time_min", "time_mim"): "key 'time_mim' is unknown; did you mean time_min?",
    }.items():
        profile.write_text(good.replace(*change))
        failures = [finding for finding in check_profile(profile) if finding.level == "fail"]
        assert any(words in finding.what for finding in failures), (change, failures)
        assert all(finding.fix and "\n" not in finding.what for finding in failures)
    for change, level, words in (
        ('[[place]]\nwhen = "seed == 0"\npartition = "nope"', "fail", "place 1: partition = 'nope' is none of "),
        (
            '[[place]]\nwhen = "seed == 0"\ncpus_per_task = 64',
            "fail",
            "place 1: the profile asks for 1 node with 64 co",
        ),
        (
            "[sbatch]\nno-requeue = true",
            "warn",
            "sbatch.no-requeue: a run that is preempted or meets its time limit l",
        ),
    ):
        profile.write_text(f"{good}{change}\n")
        first, *_ = check_profile(profile)
        assert (first.level, first.what[: len(words)]) == (level, words)
    assert cluster.run("squeue", "-h") == ""


def test_a_time_limit_above_the_partitions_is_told_with_the_one_to_take() -> None:
    asked = ClusterConfig(partition="short,idle", time_min=90)
    limit, down = _check_partition(asked, [["short", "up", "1:00:00"], ["idle", "down", "infinite"]])
    assert (limit.level, limit.what) == ("fail", "time_min = 90 is above the limit of partition short, 1:00:00")
    assert limit.fix.startswith("time_min = 60: ")
    assert (down.level, down.what) == ("warn", "partition idle is down")


def test_without_a_cluster_a_profile_cannot_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "profile.toml").write_text('partition = "gpu"\n')
    (found,) = check_profile(tmp_path / "profile.toml")
    assert (found.level, "cannot be checked here (sinfo: no such command" in found.what) == ("fail", True)


def test_time_limits_are_read_as_slurm_writes_them() -> None:
    texts = {"infinite": None, "30:00": 30, "2:00:00": 120, "1-12:00:00": 2160, "n/a": None}
    assert {text: limit_minutes(text) for text in texts} == texts
