"""Optimisers: torch's own steps, and bits that a resumed run finds again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from harness.config import Schedule
from harness.training.optimizer import build_optimizer

KINDS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.01}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


def step(weight: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    (weight**2).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("decay", [None, 0.3])
def test_steps_are_those_of_torch_and_go_on_bit_for_bit(name: str, decay: float | None) -> None:
    schedule = Schedule(optimizer=name, learning_rate=1e-2, weight_decay=decay)  # type: ignore[arg-type]
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    optimizer = build_optimizer([ours], schedule)
    kind, options = KINDS[name]
    plain = kind([theirs], lr=1e-2, **options | ({} if decay is None else {"weight_decay": decay}))  # type: ignore[call-arg]
    for _ in range(3):
        step(ours, optimizer)
        step(theirs, plain)
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    resumed = nn.Parameter(ours.detach().clone())
    again = build_optimizer([resumed], schedule)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step(ours, optimizer)
        step(resumed, again)
    assert torch.equal(ours, resumed)
