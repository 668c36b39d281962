"""The commands of docs/grid.md for a SLURM to try things on, as they stand there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster
from pages import ROOT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_first_grid_on_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    page = blocks("docs/grid.md")
    (at,) = [number for number, block in enumerate(page) if block.text.startswith("export SLURM_CONF=")]
    for block in page[at - 3 : at - 1]:
        (tmp_path / str(block.file)).write_text(block.text)
    script = page[at - 1].text + page[at].text.partition("\n")[2]
    assert script.count("cxr ") == 5
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **cluster.environment, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs: 4 done" in done.stdout
    results = [json.loads(file.read_text()) for file in (tmp_path / "runs" / "first").glob("*/result.json")]
    assert [result["epochs"] for result in results] == [2, 2, 2, 2]
