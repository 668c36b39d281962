"""The process of ``cxr``, also as ``python -m launch.cli``."""

from __future__ import annotations

import gc

from launch.cli import main

COLLECT_AFTER = (100_000, 50, 10)
"""New objects after which Python looks for garbage among them, instead of 700, and how often before it looks among
older ones as well. Importing torch, numba and FFCV makes 300,000 objects that all stay; searching them again and
again is a quarter of the time to the first batch."""


def console() -> None:
    """Entry point of ``cxr``; exits as ``main`` does."""
    gc.set_threshold(*COLLECT_AFTER)
    try:
        main()
    finally:
        gc.freeze()  # else Python searches all objects once more before it ends: 0.6 s with torch


if __name__ == "__main__":
    console()
