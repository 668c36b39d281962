"""Record work for a CUDA device once, to be started again as one graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch

from datasets.errors import InputError

WARM_UP_CALLS = 3
"""Calls before recording, in which libraries choose their algorithms and take their memory."""
Result = TypeVar("Result")


class GraphMemory:
    """Memory that the graphs of one run share: they run one after another, and results are copied out of it."""

    @cached_property
    def pool(self) -> Any:
        """CUDA's name of it."""
        return torch.cuda.graph_pool_handle()


def record(
    call: Callable[[], Result], *, warm_up: Callable[[], object], memory: GraphMemory, what: str
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Record ``call``; return the graph, and the result into whose memory each replay of it writes.

    Args:
        call: reads from and writes to memory that stays.
        warm_up: makes the same call and undoes what it leaves; it runs outside the current stream, as recording asks.
        memory: where the graph's memory comes from.
        what: is recorded, for the message.

    Raises:
        InputError: when recording fails; what it has taken of the device is not given back.
        torch.OutOfMemoryError: when the device has no memory for it.
    """
    try:
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                warm_up()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may go on allocating, as loaders do; only this one is recorded.
        with torch.cuda.graph(graph, pool=memory.pool, capture_error_mode="thread_local"):
            result = call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if isinstance(error.__context__, torch.OutOfMemoryError):  # by which the recording could not end whole either
            raise error.__context__ from None
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{what} cannot be recorded as a CUDA graph ({reason}); run the same command with "
            "--no-cuda-graphs, which is slower"
        ) from error
    return graph, result
