"""What a cluster's run says about itself, and that changed code is not queued unasked: in a checkout of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from cluster_events import wait_until
from shell import Shell

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def git(checkout: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean checkout of these packages, with one commit."""
    made = tmp_path / "checkout"
    for package in ("datasets", "harness", "launch"):
        shutil.copytree(ROOT / package, made / package, ignore=shutil.ignore_patterns("__pycache__"))
    (made / ".gitignore").write_text("__pycache__/\n")
    git(made, "init", "--quiet")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message", "all")
    return made


def test_a_run_says_what_it_rests_on_and_changed_code_is_refused(shell: Shell, checkout: Path) -> None:
    shell = replace(shell, checkout=checkout)
    submit = ("submit", "--cluster", str(shell.profile), "--only", "long")
    code = checkout / "harness" / "training" / "loop.py"
    code.write_text(code.read_text() + "# changed\n")
    refused = shell.grid(*submit)
    assert (refused.status, len(refused.err.splitlines())) == (2, 1)
    assert f"error: {checkout}: the checkout has uncommitted changes" in refused.err
    assert "--allow-dirty" in refused.err
    git(checkout, "checkout", "--quiet", ".")
    assert shell.grid(*submit).err.splitlines()[0] == "1 run: 1 queued"
    wait_until("it trains", lambda: shell.is_under_way("long"))
    shell.cluster.run("scontrol", "requeue", shell.starts("long")[0]["job"])
    code.write_text(code.read_text() + "# changed\n")
    wait_until("it is told", lambda: shell.endings("long") == ["requeued"])
    shell.cluster.run("scancel", "--user=root")
    shell.drain()
    assert shell.grid(*submit, "--allow-dirty").err.splitlines()[0] == "1 run: 1 queued"
    wait_until("it is done", lambda: shell.endings("long") == ["requeued", "done"])
    provenance = json.loads((shell.folder("long") / "provenance.json").read_text())
    commit, job = git(checkout, "rev-parse", "HEAD"), shell.starts("long")[-1]["job"]
    (first,) = provenance["earlier_starts"]
    assert (first["git"], provenance["git"]) == (
        {"commit": commit, "dirty": False},
        {"commit": commit, "dirty": True},
    )
    assert provenance["slurm"]["SLURM_JOB_ID"] == job
    assert provenance["slurm"]["SLURM_JOB_PARTITION"] == "gpu"
    assert provenance["slurm"]["SLURM_JOB_NODELIST"] == shell.starts("long")[-1]["host"]
    assert (provenance["host"], provenance["devices"]) == (os.uname().nodename, ["cpu, 1 threads"])
    assert provenance["versions"]["torch"] == version("torch")
    sidecar = json.loads((shell.data_dir / "chestxray14.beton.json").read_text())
    assert provenance["content_hash"] == sidecar["content_hash"]
    assert provenance["config_hash"].startswith(shell.folder("long").name.rpartition("-")[2])
