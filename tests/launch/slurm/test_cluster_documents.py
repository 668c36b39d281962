"""The commands and profiles of docs/grid.md on a SLURM, as they stand there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster, running_cluster
from pages import ROOT, blocks
from slurm_files import GPU_NODE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _environment(cluster: Cluster) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **cluster.environment, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def test_the_first_grid_on_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    page = blocks("docs/grid.md")
    (at,) = [number for number, block in enumerate(page) if block.text.startswith("export SLURM_CONF=")]
    for block in page[at - 3 : at - 1]:
        (tmp_path / str(block.file)).write_text(block.text)
    script = page[at - 1].text + page[at].text.partition("\n")[2]
    assert script.count("cxr ") == 5
    environment = _environment(cluster)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs: 4 done" in done.stdout
    results = [json.loads(file.read_text()) for file in (tmp_path / "runs" / "first").glob("*/result.json")]
    assert [result["epochs"] for result in results] == [2, 2, 2, 2]


def test_the_profiles_are_queued_as_they_stand(cluster: Cluster, data_dir: Path, tmp_path: Path) -> None:
    page = {block.file: block.text for block in blocks("docs/grid.md") if block.file}
    (tmp_path / "cluster.toml").write_text(page["cluster.toml"])
    (tmp_path / "example.toml").write_text((ROOT / "launch" / "executors" / "slurm" / "example.toml").read_text())
    (tmp_path / "first.toml").write_text(page["first.toml"])
    expected = {"Partition": "gpu", "CPUs/Task": "16", "MinMemoryNode": "64G", "TresPerNode": "gres:gpu:1"}
    expected["TimeLimit"] = "1-00:00:00"
    asked = {"cluster": expected, "example": expected | {"Account": "imaging", "QOS": "normal", "Features": "a100"}}
    with running_cluster(GPU_NODE) as large:
        large.run("sacctmgr", "-i", "add", "account", "imaging")
        large.run("sacctmgr", "-i", "add", "user", "root", "account=imaging")
        for name, fields in asked.items():

            def cxr(*command: str, name: str = name) -> str:
                where = ["first.toml", "--runs-dir", name, "--data-dir", str(data_dir)]
                words = [sys.executable, "-m", "launch.cli", "grid", *command, *where]
                environment = _environment(large)
                done = subprocess.run(
                    words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr
                return done.stdout

            cxr("submit", "--allow-dirty", "--cluster", f"{name}.toml")
            job = max(large.run("squeue", "--all", "-h", "-o", "%A", "--states=all").split(), key=int)
            words = large.run("scontrol", "show", "job", job).split()
            record = dict(word.split("=", 1) for word in words if "=" in word)
            assert {field: record.get(field) for field in fields} == fields
            large.wait_for("the setup to fail", lambda cxr=cxr: "module load cuda" in cxr("status"))
