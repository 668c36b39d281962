"""Write ``status.json``, the state of a run that other processes read."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from datasets.files import write_json
from harness.runs.folder import RunFolder

State = Literal["running", "done", "failed", "interrupted"]


@dataclass
class Status:
    """State of one run and its file; a process that does not own the file writes nothing."""

    folder: RunFolder
    epochs: int
    owner: bool
    epoch: int = 0
    """Epochs done."""
    mean_auroc: float | None = None
    """Last validation AUROC in 0..1."""
    images_per_s: float | None = None
    """Training images per second in the last epoch, over all processes."""

    def write(self, state: State, error: str | None = None) -> None:
        """Write the state with the time, this process and its host."""
        if not self.owner:
            return
        document = {
            "state": state,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "updated": time.time(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "error": error,
            "mean_auroc": self.mean_auroc,
            "images_per_s": self.images_per_s,
        }
        kwh = self.folder.energy_kwh()
        if kwh is not None:
            document["energy_kwh"] = kwh
        write_json(self.folder.status_file, document)


@contextmanager
def reporting(status: Status) -> Iterator[None]:
    """Write ``running`` at the start and ``done``, ``failed`` or ``interrupted`` at the end, whatever the end is."""
    status.write("running")
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # a full disk must not hide how the run ended
            status.write("interrupted", "interrupted; re-run the same command to resume from the last checkpoint")
        raise
    except BaseException as error:
        lines = str(error).splitlines()
        with suppress(OSError):
            status.write("failed", f"{type(error).__name__}: {lines[0] if lines else ''}")
        raise
    status.write("done")
