"""The parts of FFCV that are in use, imported in one place without FFCV's side effects on the process.

``import ffcv`` compiles for seconds, sets torch to one thread and starts numba's thread pool; here the pool is
chosen and started first, nothing is compiled, and torch's setting is put back. Import FFCV through this module only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from numba import typed

from datasets.kernels.threads import keeping_torch_threads, num_loader_threads, start_numba_threads


@contextmanager
def _plain_dictionaries() -> Iterator[None]:
    """Let FFCV fill its table of image modes without numba, which compiles for about two seconds to do so.

    FFCV 1.0.2 reads the table (``ffcv.fields.rgb_image.IMAGE_MODES``) in plain Python only, so a plain one serves.
    """
    compiled = typed.Dict
    typed.Dict = dict
    try:
        yield
    finally:
        typed.Dict = compiled


start_numba_threads(num_loader_threads(None))
with keeping_torch_threads(), _plain_dictionaries():
    from ffcv.fields.base import ARG_TYPE, Field
    from ffcv.loader.epoch_iterator import EpochIterator
    from ffcv.loader.loader import Loader
    from ffcv.memory_managers.base import MemoryContext, MemoryManager
    from ffcv.pipeline.graph import Graph
    from ffcv.pipeline.operation import Operation
    from ffcv.pipeline.pipeline_spec import PipelineSpec
    from ffcv.pipeline.state import State
    from ffcv.reader import Reader

__all__ = [
    "ARG_TYPE",
    "EpochIterator",
    "Field",
    "Graph",
    "Loader",
    "MemoryContext",
    "MemoryManager",
    "Operation",
    "PipelineSpec",
    "Reader",
    "State",
]
