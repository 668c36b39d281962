"""The moving average of weights, and gradients that are added up over parts of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_network import one_epoch, plain_components
from tiny_runs import tiny_config, tiny_runtime, tiny_schedule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.devices.accelerator import make_accelerator
from harness.training.build import moving_average
from harness.training.optimizer import StepPlan, follow


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 0.99), st.lists(st.floats(-10, 10), min_size=1, max_size=12))
def test_the_average_is_the_decayed_sum_of_all_weights_since_the_first_step(decay: float, steps: list[float]) -> None:
    network: Any = nn.BatchNorm1d(1)
    averaged = moving_average(network, decay)
    assert averaged is not None
    for value in steps:
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(-value)
        averaged.update_parameters(network)
    last = len(steps) - 1
    shares = [decay**last, *((1 - decay) * decay ** (last - number) for number in range(1, last + 1))]
    expected = sum(share * value for share, value in zip(shares, steps, strict=True))
    assert averaged.module.weight.item() == pytest.approx(expected, abs=1e-4)
    assert averaged.module.running_mean.item() == pytest.approx(-expected, abs=1e-4)


def test_without_a_decay_there_is_no_copy() -> None:
    assert moving_average(nn.Linear(1, 1), None) is None  # type: ignore[arg-type]


def test_a_step_of_several_parts_weighs_them_by_their_images() -> None:
    plan = StepPlan(sizes=[8, 8, 8, 4], accumulate=3)
    assert plan.num_steps == 2
    assert [plan.ends_step(number) for number in range(4)] == [False, False, True, True]
    assert [plan.share(number) for number in range(4)] == [1 / 3, 1 / 3, 1 / 3, 1.0]
    assert StepPlan(sizes=[8, 2], accumulate=2).share(1) == 0.2


def test_a_step_in_parts_is_the_step_of_the_whole_batch(tiny_beton: Path, tmp_path: Path) -> None:
    """Without batch norm and with all labels known; equal up to the order in which numbers are added."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    whole, parts = (
        one_epoch(plain_components(accelerator, tiny_beton, tiny_config(schedule=tiny_schedule(1, **changes))))
        for changes in ({}, {"accumulate": 4})
    )
    assert parts["indices"] == whole["indices"]
    for name, value in whole["weights"].items():
        assert parts["weights"][name] == pytest.approx(value, abs=1e-6), name
    assert torch.tensor(parts["sums"]).tolist() == pytest.approx(whole["sums"], rel=1e-5)


def test_a_step_that_the_scaler_left_out_moves_no_average() -> None:
    """Neither weights nor statistics; the first step that was made is taken over whole."""
    network: Any = nn.BatchNorm1d(1)
    averaged = moving_average(network, 0.5)
    assert averaged is not None
    for value, left_out in ((1.0, True), (2.0, False), (7.0, True), (4.0, False)):
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(-value)
        follow(averaged, network, torch.tensor(left_out))
    follow(averaged, network, True)
    assert averaged.module.weight.item() == 3.0
    assert averaged.module.running_mean.item() == -3.0


def test_a_later_step_copies_nothing_to_the_device() -> None:
    """A copy of the count of steps would wait for all that a GPU has to do; "meta" stands for the GPU here."""
    network: Any = nn.BatchNorm1d(4, device="meta")
    averaged = moving_average(network, 0.5)
    assert averaged is not None
    follow(averaged, network, False)
    with Copies() as copies:
        follow(averaged, network, False)
        follow(averaged, network, torch.empty((), dtype=torch.bool, device="meta"))
    assert copies.found == [] and averaged.n_averaged == 3


class Copies(TorchDispatchMode):
    """Notes what is copied from the host to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        given = [value for value in tree_leaves(args) if isinstance(value, torch.Tensor)]
        if isinstance(made, torch.Tensor) and made.is_meta and any(not value.is_meta for value in given):
            self.found.append(function)
        return made
