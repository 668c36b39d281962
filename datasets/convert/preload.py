"""Module that the fork server imports once: decoders loaded, for every decode process forked from it."""

from __future__ import annotations

import gc
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # read as numpy is loaded

from datasets.loading.threads import gc_paused

with gc_paused():
    from datasets.convert.worker import warm_up

    warm_up()
gc.freeze()
