"""Folded networks: the outputs of the networks they copy, to a stated tolerance, whatever the batch norms hold."""

from __future__ import annotations

import pytest
import torch

from harness.config import NetworkConfig
from harness.networks import InferenceNetwork, Network, build_network
from harness.networks.xrv_densenet121 import XrvDenseNet121

IMAGES = torch.randn(3, 3, 96, 64, generator=torch.Generator().manual_seed(0))


def with_drawn_norms(network: Network) -> Network:
    """Statistics, factors and summands as training leaves them: of both signs, some channels dead."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.normal_(1.0, 0.3, generator=generator)
                module.bias.normal_(0.0, 0.5, generator=generator)
            module.running_mean.normal_(0.0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            with torch.no_grad():
                module.weight[0], module.weight[1], module.weight[2] = 0.0, -0.8, 1e-12
    return network.eval()


def networks() -> list[Network]:
    made = [build_network(NetworkConfig(name=name), 5) for name in ("densenet121", "densenet40")]
    made += [build_network(NetworkConfig(name="densenet40", head_relu=True), 5), XrvDenseNet121()]
    return [with_drawn_norms(network) for network in made]


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("number", range(4))
def test_outputs_are_the_networks_own_to_float32_rounding(number):
    network = networks()[number]
    folded = InferenceNetwork(network)
    with torch.no_grad():
        expected, found = network(IMAGES), folded(IMAGES)
        planes = folded.attention_planes(IMAGES)
    assert found.logits.shape == expected.logits.shape
    assert distance(found.logits, expected.logits) < 1e-5
    assert distance(found.attention, expected.attention) < 1e-5
    assert torch.equal(planes, found.attention)


@pytest.mark.parametrize("number", range(4))
def test_under_autocast_it_is_as_near_to_float32_as_the_network_itself(number):
    network = networks()[number]
    folded = InferenceNetwork(network)
    with torch.no_grad():
        exact = network(IMAGES)
        with torch.autocast("cpu", torch.bfloat16):
            cast, found = network(IMAGES), folded(IMAGES)
    assert found.attention.dtype == torch.bfloat16 and found.logits.dtype == torch.float32
    for ours, theirs, true in zip(found, cast, exact, strict=True):
        assert distance(ours.float(), true) < 1.5 * distance(theirs.float(), true) + 1e-3


def test_the_source_stays_trainable_and_the_copy_has_nothing_to_train():
    network = build_network(NetworkConfig(name="densenet40"), 5)
    with torch.inference_mode():
        InferenceNetwork(network)(IMAGES)
    assert all(parameter.requires_grad for parameter in network.parameters()) and network.training
    assert not list(InferenceNetwork(network).parameters())
    network(IMAGES).logits.sum().backward()


def test_weights_that_change_later_are_not_seen():
    network = build_network(NetworkConfig(name="densenet40"), 5).eval()
    folded = InferenceNetwork(network)
    before = folded(IMAGES).logits
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    assert torch.equal(folded(IMAGES).logits, before)
