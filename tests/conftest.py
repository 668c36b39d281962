"""Spread the tests over processes, and let Ctrl-C reach what they start."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell starts what runs in the background with SIGINT ignored, and every process started from there would ignore it
# too. Tests that send Ctrl-C need processes that begin with the default handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

CLUSTER = Path(__file__).parent / "launch" / "slurm"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for pytest-xdist's ``loadgroup``, so that fixtures of a file or of the cluster are made once."""
    for item in items:
        on_cluster = item.path.is_relative_to(CLUSTER)
        item.add_marker(pytest.mark.xdist_group("cluster" if on_cluster else str(item.path)))
    items.sort(key=lambda item: not item.path.is_relative_to(CLUSTER))  # the longest group first
