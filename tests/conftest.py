"""Spread the tests over processes, and let Ctrl-C reach what they start."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

# A shell starts what runs in the background with SIGINT ignored, and every process started from there would ignore it
# too. Tests that send Ctrl-C need processes that begin with the default handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

# From the longest to the shortest, so that the two processes end at about the same time.
ORDER = ("launch/slurm", "docs", "harness", "launch", "benchmarks", "datasets")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests on the cluster, which wait more than they compute."""
    tests = Path(__file__).parent
    folders = [tests / folder for folder in ORDER]

    def place(item: pytest.Item) -> int:
        return next((place for place, folder in enumerate(folders) if item.path.is_relative_to(folder)), len(ORDER))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to a process, so that fixtures are made once, and all that needs the cluster to one."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return ORDER[0] if f"/{ORDER[0]}/" in file else file

    config.option.loadscopereorder = False
    return ByFile(config, log)
