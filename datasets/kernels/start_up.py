"""Imports that make a hundred thousand objects come in; they go out without a search for garbage among them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Let Python's garbage collector wait.

    Modules stay, so that whatever the collector does while they are imported is in vain; for torch, numba and FFCV it
    is a quarter of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
