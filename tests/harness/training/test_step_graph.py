"""How a step is run: one by one on the CPU and over several processes, recorded on CUDA; and a failure."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda_on_tapes import record_on_tapes
from tiny_runs import LABELS, attention_transfer, tiny_runtime, write_xrv
from torch import Tensor, nn

from datasets.errors import InputError
from harness.config import (
    AttentionTransfer,
    ChannelWise,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Relational,
    Weights,
)
from harness.devices.accelerator import make_accelerator
from harness.networks import build_network, draw_weights
from harness.objectives import Losses, Sources, build_objective
from harness.runs.runtime import RuntimeConfig
from harness.training.build import forward_backward
from harness.training.guards import BatchNormSnapshot
from harness.training.parallel import not_recorded, warn_of_small_shares
from harness.training.step import EagerForwardBackward, ForwardBackward, GraphedForwardBackward


class Counted:
    """Squared error of a layer, forward and backward; counts the batches."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.calls = layer, 0

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        self.calls += 1
        outputs = self.layer(inputs)
        loss = (outputs - targets).square().mean()
        loss.backward()
        return outputs, Losses(loss, loss.detach(), None)


@pytest.mark.parametrize(
    ("device", "backend", "cuda_graphs", "why_not"),
    [
        ("cpu", None, True, "there is no GPU"),
        ("cuda", None, False, "--no-cuda-graphs"),
        ("cuda", "gloo", True, "gloo joins the processes, and only NCCL's messages can be recorded"),
        ("cuda", "nccl", True, None),
        ("cuda", None, True, None),
    ],
)
def test_steps_are_recorded_on_cuda_by_one_process_and_over_nccl(
    device: str, backend: str | None, cuda_graphs: bool, why_not: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: backend is not None)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    accelerator: Any = SimpleNamespace(device=torch.device(device))
    objective: Any = SimpleNamespace(module=None)
    runtime = replace(RuntimeConfig(), cuda_graphs=cuda_graphs)
    assert not_recorded(accelerator, runtime) == why_not
    found = forward_backward(accelerator, nn.Linear(2, 1), objective, [4, 4, 3], runtime)
    assert type(found) is (GraphedForwardBackward if why_not is None else EagerForwardBackward)


def test_batches_of_another_size_are_run_directly() -> None:
    layer = nn.Linear(3, 1)
    eager = Counted(layer)
    graphed = GraphedForwardBackward(eager, [layer], {8})
    logits, losses = graphed(torch.ones(5, 3), torch.zeros(5, 1), 5)
    assert (eager.calls, len(logits)) == (1, 5) and losses.attention is None
    assert layer.weight.grad is not None


def test_whole_batches_and_the_last_one_of_an_epoch_have_a_recording_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of 8, 8 and 3 images, then 5 that no epoch has: bits and statistics of eager steps."""
    batches = [torch.randn(size, 3, generator=torch.Generator().manual_seed(7)) for size in (8, 8, 3, 8, 8, 3, 5)]
    ends = []
    for recorded in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
        eager = Counted(network)
        step: ForwardBackward = eager
        if recorded:
            step, tapes = GraphedForwardBackward(eager, [network], {8, 3}), record_on_tapes(network, monkeypatch)
        seen = []
        for batch in batches:
            logits, losses = step(batch, batch.sum(1, keepdim=True), len(batch))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += [logits.detach().clone(), losses.total.detach().clone()]
        ends.append([*seen, *(value.clone() for value in network.state_dict().values())])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert len(tapes) == 2


def test_recordings_end_with_their_step_and_not_when_garbage_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's process group cannot end as long as there is a graph that holds its messages."""
    layer = nn.Linear(3, 1)
    tapes = record_on_tapes(layer, monkeypatch)
    step = GraphedForwardBackward(Counted(layer), [layer], {8})
    step(torch.ones(8, 3), torch.zeros(8, 1), 8)
    tape = weakref.ref(tapes.pop())
    assert tape() is not None
    gc.disable()
    try:
        del step
        assert tape() is None
    finally:
        gc.enable()


NONE = Weights(kind="none")


@pytest.fixture(scope="module")
def xrv(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    return write_xrv(tmp_path_factory.mktemp("xrv"))


@pytest.mark.parametrize(
    "made",
    [
        lambda _: attention_transfer(0.5),
        lambda _: FitNet(teacher=NONE),
        lambda _: Relational(teacher=NONE),
        lambda _: ChannelWise(teacher=NONE),
        lambda xrv: AttentionTransfer(teacher=xrv, weight=0.5),
        lambda xrv: LogitDistillation(teacher=xrv),
    ],
    ids=["attention_transfer", "fitnet", "relational", "channel_wise", "attention_transfer_xrv", "distillation_xrv"],
)
def test_a_replay_of_every_objective_is_the_step_itself(
    made: Any, xrv: tuple[Weights, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and gradients of another batch than the recorded one, the teacher's pass included."""
    weights, path = xrv
    runtime = replace(tiny_runtime(tmp_path / "no.beton", tmp_path), xrv_weights=(path,))
    accelerator = make_accelerator(runtime)
    objective = build_objective(made(weights), Sources(runtime=runtime, device=accelerator.device, labels=LABELS))
    network = build_network(NetworkConfig(name="densenet40"), len(LABELS))
    draw_weights(network, seed=0)
    eager = EagerForwardBackward(accelerator=accelerator, wrapped=network, objective=objective)
    modules = [network] if objective.module is None else [network, objective.module]
    generator = torch.Generator().manual_seed(7)
    batches = [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(2)]
    targets, statistics, ends = torch.ones(4, len(LABELS), dtype=torch.uint8), BatchNormSnapshot(*modules), []
    for recorded in (False, True):
        step: ForwardBackward = eager
        if recorded:
            step, tapes = GraphedForwardBackward(eager, modules, {4}), record_on_tapes(network, monkeypatch)
        for batch in batches:
            for module in modules:
                module.zero_grad(set_to_none=True)
            logits, losses = step(batch, targets, 4)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        ends.append([logits, losses.total, losses.attention, *(parameter.grad.clone() for parameter in parameters)])
        statistics.restore()
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert len(tapes) == 1


@pytest.mark.parametrize(("share", "processes", "warned"), [(4, 8, True), (16, 2, False), (4, 1, False)])
def test_gpus_that_share_a_small_batch_are_better_used_by_runs_of_their_own(
    share: int, processes: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_small_shares(share, processes)
    said = "each GPU gets 4 images of a step, and fewer than 16 do not fill one: 8 runs at once"
    assert (said in caplog.text) is warned


def test_where_recording_fails_the_run_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self) -> None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name in ("current_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda other: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Refused)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "the pool")
    layer = nn.Linear(3, 1)
    graphed = GraphedForwardBackward(Counted(layer), [layer], {8})
    with pytest.raises(InputError, match=r"not permitted when stream is capturing\); .* --no-cuda-graphs") as caught:
        graphed(torch.randn(8, 3), torch.randn(8, 1), 8)
    assert "\n" not in str(caught.value)


def test_too_little_memory_within_a_recording_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the recording's end fails, too: without graphs the step would not fit either."""
    layer = nn.Linear(3, 1)
    record_on_tapes(layer, monkeypatch)
    eager = Counted(layer)

    @contextmanager
    def capture(*_: Any, **__: Any) -> Iterator[None]:
        monkeypatch.setattr(layer, "forward", full)
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def full(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "graph", capture)
    with pytest.raises(torch.OutOfMemoryError):
        GraphedForwardBackward(eager, [layer], {8})(torch.randn(8, 3), torch.randn(8, 1), 8)
