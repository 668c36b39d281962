"""Lets one test process build Accelerators that differ."""

from __future__ import annotations

import sys


def forget_accelerator() -> None:
    """Accelerate keeps precision and device for the whole process; a run of ours is a process of its own."""
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
