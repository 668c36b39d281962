"""Twenty training steps do not wait for the device: nothing is read from it but where something is logged."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_network import plain_callbacks, plain_components
from tiny_runs import all_options, tiny_config, tiny_runtime, tiny_schedule
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.loading.batch import Batch
from harness.devices.accelerator import make_accelerator
from harness.evaluation.inference import Rows
from harness.runs.train_state import TrainState
from harness.training.loop import TrainingComponents, train_epoch

aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.is_nonzero.default}
"""Operations that wait for a GPU, since their result's value or size is needed on the host."""


class Waits(TorchDispatchMode):
    """Counts operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in WAITING
        return function(*args, **(kwargs or {}))

    def leave(self) -> None:
        self.__exit__(None, None, None)


class EnoughError(Exception):
    """All steps that are looked at are done."""


def run_steps(
    components: TrainingComponents, begin: Callable[[], Any], end: Callable[[], Any], *, steps: int = 20
) -> None:
    """Train; call ``begin`` after 4 steps, in which libraries choose and record, and ``end`` after ``steps`` more."""
    done = 0

    def step_done() -> None:
        nonlocal done
        done += 1
        if done == 4:
            begin()
        if done == 4 + steps:
            end()
            raise EnoughError

    callbacks = dataclasses.replace(plain_callbacks(components.accelerator), step_done=step_done)
    with pytest.raises(EnoughError):
        train_epoch(components, TrainState(), 1e-3, callbacks, lambda: 0.0)


@pytest.mark.parametrize("clip_value", [None, 0.5])
@pytest.mark.parametrize("scaled", [False, True], ids=["bf16", "fp16"])
def test_on_the_cpu_no_step_reads_a_value(
    scaled: bool, clip_value: float | None, tiny_beton: Path, tmp_path: Path
) -> None:
    """What would wait for a GPU is counted among torch's operations; torch has the scaler of fp16 on the CPU too."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24) if scaled else None
    schedule = tiny_schedule(1, batch_size=1, clip_value=clip_value)
    waits = Waits()
    run_steps(plain_components(accelerator, tiny_beton, schedule=schedule), waits.__enter__, waits.leave)
    assert waits.count == 0


def test_the_options_of_training_read_nothing(tiny_beton: Path, tmp_path: Path) -> None:
    """All but the moving average, whose count of steps is read, but lies on the host: see test_averaging.py."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    config = all_options(tiny_config(schedule=tiny_schedule(1, batch_size=4)))
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, subset="full"),
        schedule=dataclasses.replace(config.schedule, accumulate=2, ema_decay=None),
    )
    components = plain_components(accelerator, tiny_beton, config)
    waits = Waits()
    run_steps(components, waits.__enter__, waits.leave, steps=8)
    assert waits.count == 0


def test_a_look_at_every_step_is_seen(tiny_beton: Path, tmp_path: Path) -> None:
    """Steps that are left out where a gradient is not finite do look: once a step."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    schedule = tiny_schedule(1, batch_size=1)
    components = plain_components(accelerator, tiny_beton, schedule=schedule, on_nonfinite="skip")
    waits = Waits()
    run_steps(components, waits.__enter__, waits.leave)
    assert waits.count == 20


def test_rows_of_an_epoch_keep_no_memory_of_their_batches() -> None:
    """Which may be page-locked: were it kept until the epoch's end, each step would lock more."""
    batch = Batch(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.uint8), torch.arange(2), 2)
    parts = [weakref.ref(part) for part in (batch.images, batch.targets, batch.indices)]
    rows = Rows(num_labels=1)
    rows.add(batch, torch.zeros(2, 1))
    del batch
    assert [part() for part in parts] == [None, None, None]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cuda_graphs", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("clip_value", [None, 0.5])
def test_on_a_gpu_no_step_waits_for_it(
    precision: str, cuda_graphs: bool, clip_value: float | None, tiny_beton: Path, tmp_path: Path
) -> None:
    where = {"device": "cuda", "precision": precision}
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path, **where))
    schedule = tiny_schedule(1, batch_size=1, clip_value=clip_value, ema_decay=0.5)
    components = plain_components(accelerator, tiny_beton, schedule=schedule, cuda_graphs=cuda_graphs, **where)
    set_mode = torch.cuda.set_sync_debug_mode
    try:
        run_steps(components, lambda: set_mode("error"), lambda: set_mode("default"))
    finally:
        set_mode("default")
