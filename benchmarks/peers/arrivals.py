"""Count batches on a GPU as they arrive: each once the one before it is complete.

A batch that was only asked for is no batch yet. Waiting for each one at once would keep the host from preparing the
next, as no training loop does, so one is always on its way.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Arrivals:
    """Waits for the batch before the one that is handed over."""

    def __init__(self) -> None:
        self._before: torch.cuda.Event | None = None

    def wait_behind(self, batch: Tensor) -> None:
        """Wait until the batch of the last call is there, and note how far the device has to come for this one."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(batch.device))
        if self._before is not None:
            self._before.synchronize()
        self._before = event
