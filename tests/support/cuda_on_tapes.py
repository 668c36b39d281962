"""A stand-in for CUDA graphs on the CPU, at CUDA's calls alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.training.guards import BatchNormSnapshot


class Tape(TorchDispatchMode):
    """Stands in for a CUDA graph on the CPU: notes operations, and does them again into the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        self.noted.append((function, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        with torch.inference_mode():  # which may write to the tensors that were made in it, too
            for function, args, kwargs, made in self.noted:
                again = function(*args, **kwargs)
                for work in tree_leaves(again):
                    if isinstance(work, torch.ScriptObject):  # of a collective, which a graph's next operation awaits
                        torch.distributed.Work.unbox(work).wait()
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def record_on_tapes(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Let CUDA's calls note operations on the CPU; the recordings that will be made."""
    made: list[Tape] = []

    def new() -> Tape:
        made.append(Tape())
        return made[-1]

    @contextmanager
    def capture(tape: Tape, pool: object, capture_error_mode: str) -> Iterator[None]:
        assert pool == "the pool"
        statistics = BatchNormSnapshot(network)
        with tape:
            yield
        statistics.restore()  # CUDA notes operations without running them

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name in ("current_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda other: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "the pool")
    return made
