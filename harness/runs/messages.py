"""Notes for the user: a sentence comes in; it goes to standard error, once for all processes of a run."""

from __future__ import annotations

import os
import sys


def note(message: str) -> None:
    """Print ``message`` unless another process of the same launcher says it."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)
