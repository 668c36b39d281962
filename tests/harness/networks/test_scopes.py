"""Scopes: what is trained, and what batch norms outside the scope do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from harness.config import NetworkConfig
from harness.networks import apply_scope, build_network, trainable_parameters

LAST34 = NetworkConfig(scope="last34")
LAST34_EVAL = NetworkConfig(scope="last34", frozen_bn="eval")
TRAINED = ("features.transition3.", "features.denseblock4.", "features.norm5.", "classifier.")


def train_once(network: nn.Module) -> None:
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network(batch).logits.square().sum().backward()


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_last34_trains_exactly_the_last_34_layers():
    network = build_network(LAST34, 14)
    train_once(network)
    with_gradient = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert with_gradient == [name for name, _ in network.named_parameters() if name.startswith(TRAINED)]
    trained = trainable_parameters(network, LAST34)
    assert sum(parameter.numel() for parameter in trained) == 2_700_814
    assert [id(p) for p in trained] == [id(p) for p in network.parameters() if p.requires_grad]


def test_frozen_batch_norms_update_by_default():
    network = build_network(LAST34, 14)
    before = statistics(network)
    train_once(network)
    assert all(not torch.equal(value, before[name]) for name, value in network.named_buffers())


@pytest.mark.parametrize("wrap", [lambda network: network, nn.Sequential, copy.deepcopy])
def test_frozen_batch_norms_stay_as_they_are_under_eval(wrap):
    outer = wrap(build_network(LAST34_EVAL, 14))
    network = outer[0] if isinstance(outer, nn.Sequential) else outer
    before = statistics(network)
    outer.eval()
    outer.train()
    train_once(network)
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name]) != name.startswith(TRAINED), name
    assert network.training and network.features.denseblock1.training


def test_a_scope_can_be_changed_and_keeps_the_mode():
    network = build_network(LAST34_EVAL, 14).eval()
    apply_scope(network, LAST34_EVAL)
    assert not any(module.training for module in network.modules())
    apply_scope(network, NetworkConfig())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert len(trainable_parameters(network, NetworkConfig())) == len(list(network.parameters()))
    network.train()
    assert all(module.training for module in network.modules())


def test_densenet40_trains_everything():
    network = build_network(NetworkConfig(name="densenet40", frozen_bn="eval"), 14)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.frozen_norms == ()
