"""Fixtures of the SLURM tests: one cluster for all of them, tiny images, and a folder of runs for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, running_cluster, why_not
from shell import PROFILE, Shell
from undisturbed import undisturbed_results

REQUIRED = os.environ.get("CXR_REQUIRE_SLURM") == "1"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, to which every SLURM command of this process and its children then goes."""
    reason = why_not()
    if reason is not None:
        if REQUIRED:
            pytest.fail(f"CXR_REQUIRE_SLURM=1, but: {reason}")
        pytest.skip(reason)
    with running_cluster() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chestxray14.beton, 90 images."""
    from tiny_runs import write_tiny_beton

    return write_tiny_beton(tmp_path_factory.mktemp("images")).parent


@pytest.fixture(scope="session")
def undisturbed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[dict[str, Any]]]:
    """Results of the scene's grid by run name, being computed on this machine, without a cluster or a stop."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(undisturbed_results, data_dir, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def shell(cluster: Cluster, data_dir: Path, tmp_path: Path) -> Iterator[Shell]:
    """A folder of runs of the test's own; the queue is empty at its end."""
    profile = tmp_path / "profile.toml"
    profile.write_text(PROFILE)
    made = Shell(cluster, data_dir, tmp_path / "runs", profile)
    yield made
    cluster.run("scancel", "--user=root")
    made.drain()
