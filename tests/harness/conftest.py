"""Fixtures of runs: one tiny beton, one finished run, and a process that can build more than one Accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datasets.logging_setup import set_up_logging

if TYPE_CHECKING:
    from tiny_runs import FinishedRun


@pytest.fixture(scope="session")
def tiny_beton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_runs import write_tiny_beton

    return write_tiny_beton(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished_run(tiny_beton: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Three epochs of transfer learning; tests read it and change nothing."""
    from accelerator_state import forget_accelerator
    from tiny_runs import FinishedRun

    made = FinishedRun.train(tiny_beton, tmp_path_factory.mktemp("finished"))
    forget_accelerator()
    return made


@pytest.fixture(autouse=True, scope="session")
def _logging() -> None:
    """Notes and warnings go to standard error, as under ``cxr``."""
    set_up_logging()


@pytest.fixture(autouse=True)
def _forget_accelerator() -> Iterator[None]:
    yield
    from accelerator_state import forget_accelerator

    forget_accelerator()
