"""Validation: weights are cast once, and a run's recordings serve all its validations with the network's own bits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from arithmetic import needs
from cuda_on_tapes import record_on_tapes
from plain_network import plain_callbacks, plain_components
from tiny_runs import all_options, attention_transfer, tiny_config, tiny_runtime, tiny_schedule
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.loading.batch import Loader
from harness.devices.accelerator import make_accelerator
from harness.devices.cuda_graph import GraphMemory
from harness.evaluation import evaluate
from harness.evaluation.forward import GraphedForward
from harness.networks import build_network, draw_weights
from harness.runs.checkpoint import weights_hash
from harness.runs.train_state import TrainState
from harness.training.loop import EpochEnd, TrainingComponents, fit, validate


class Casts(TorchDispatchMode):
    """Counts casts of float32 weights of more than one dimension to bfloat16."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16:
            self.count += isinstance(args[0], torch.nn.Parameter)
        return function(*args, **kwargs)


@pytest.fixture
def components(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> TrainingComponents:
    """A run's parts in bfloat16, whatever this CPU would choose, with validation in batches of 7, 7 and 4 images."""
    monkeypatch.setitem(evaluate.EVAL_BATCH_SIZES, "cpu", 7)
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    monkeypatch.setattr(type(accelerator.state), "mixed_precision", "bf16")
    accelerator.native_amp = True  # so that Accelerate wraps the network's forward pass, as on a GPU
    return plain_components(accelerator, tiny_beton)


def test_each_weight_is_cast_once_in_a_validation(components: TrainingComponents) -> None:
    assert components.validation_loader.plan.sizes == [7, 7, 4]
    with Casts() as casts:
        validate(components)
    assert casts.count == len(list(components.network.parameters()))


def test_two_validations_share_their_recordings_and_loader(
    components: TrainingComponents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the second are those of its moment, also those that the first one's autocast had cast."""
    network: Any = components.network
    opened: list[Any] = []
    given = Loader.__init__
    monkeypatch.setattr(Loader, "__init__", lambda *args, **named: opened.append(args) or given(*args, **named))
    expected = []
    for weights in (1.0, 0.5):
        with torch.no_grad():
            network.first.weight.mul_(weights)
        expected.append(validate(components).logits)
    with torch.no_grad():
        network.first.weight.mul_(2.0)
    tapes = record_on_tapes(network, monkeypatch)
    forward = GraphedForward(network, GraphMemory())
    components = replace(components, validation_forward=forward)
    found = [validate(components).logits]
    with torch.no_grad():
        network.first.weight.mul_(0.5)
    found.append(validate(components).logits)
    assert len(tapes) == 2 and not opened
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert not np.array_equal(found[0], found[1])


@needs("bf16")
def test_epochs_that_are_recorded_give_the_bits_of_those_that_are_not(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of attention transfer in bfloat16 with every option, their validations of the averaged weights."""
    config = all_options(tiny_config(objective=attention_transfer(0.5), schedule=tiny_schedule(2, batch_size=8)))
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path, precision="bf16"))
    found = []
    for recorded in (False, True):
        network = build_network(config.network, 3)
        draw_weights(network, seed=0)
        with monkeypatch.context() as patched:
            if recorded:
                patched.setattr("harness.training.build.not_recorded", lambda *_: None)
                tapes = record_on_tapes(network, patched)
            components = plain_components(accelerator, tiny_beton, config, network=network)
            ended: list[dict[str, Any]] = []
            fit(
                components,
                TrainState(),
                replace(plain_callbacks(accelerator), epoch_done=partial(end_of_epoch, ended)),
            )
        numbers = [(line["train"], line["validation"]) for line in ended]
        found.append((numbers, weights_hash(network.state_dict()), weights_hash(components.evaluated.state_dict())))
    assert found[0] == found[1] and len(found[0][0]) == 2
    assert len(tapes) == 2  # whole batches, and the one validation


def end_of_epoch(lines: list[dict[str, Any]], end: Callable[[], EpochEnd]) -> Future[TrainState]:
    done: Future[TrainState] = Future()
    state, line = end()
    lines.append(line)
    done.set_result(state)
    return done
