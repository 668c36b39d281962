"""How a step is run: one by one on the CPU and over several processes, recorded on CUDA; and a failure."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datasets.errors import InputError
from harness.objectives import Losses
from harness.runs.runtime import RuntimeConfig
from harness.training.build import forward_backward
from harness.training.step import EagerForwardBackward, GraphedForwardBackward


class Counted:
    """Squared error of a layer, forward and backward; counts the batches."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.calls = layer, 0

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        self.calls += 1
        outputs = self.layer(inputs)
        loss = (outputs - targets).square().mean()
        loss.backward()
        return outputs, Losses(loss, loss.detach(), None)


@pytest.mark.parametrize(
    ("device", "num_processes", "cuda_graphs", "records"),
    [("cpu", 1, True, False), ("cuda", 2, True, False), ("cuda", 1, False, False), ("cuda", 1, True, True)],
)
def test_steps_are_recorded_for_one_process_on_cuda(
    device: str, num_processes: int, cuda_graphs: bool, records: bool
) -> None:
    accelerator: Any = SimpleNamespace(device=torch.device(device), num_processes=num_processes)
    objective: Any = SimpleNamespace(module=None)
    runtime = replace(RuntimeConfig(), cuda_graphs=cuda_graphs)
    found = forward_backward(accelerator, nn.Linear(2, 1), objective, 4, runtime)
    assert type(found) is (GraphedForwardBackward if records else EagerForwardBackward)


def test_batches_of_another_size_are_run_directly() -> None:
    layer = nn.Linear(3, 1)
    eager = Counted(layer)
    graphed = GraphedForwardBackward(eager, [layer], batch_size=8)
    logits, losses = graphed(torch.ones(5, 3), torch.zeros(5, 1), 5)
    assert (eager.calls, len(logits)) == (1, 5) and losses.attention is None
    assert layer.weight.grad is not None


def test_where_recording_fails_the_run_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self) -> None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name in ("current_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda other: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Refused)
    layer = nn.Linear(3, 1)
    graphed = GraphedForwardBackward(Counted(layer), [layer], batch_size=8)
    with pytest.raises(InputError, match=r"not permitted when stream is capturing\); .* --no-cuda-graphs") as caught:
        graphed(torch.randn(8, 3), torch.randn(8, 1), 8)
    assert "\n" not in str(caught.value)
