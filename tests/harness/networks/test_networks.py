"""Networks against torchvision's own modules and the paper's exact counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import densenet121

from harness.config import NETWORKS, NetworkConfig
from harness.networks import apply_scope, build_network, construct, draw_weights, summaries
from harness.networks.dense import AveragePool, average_pool
from harness.networks.densenet40 import POOL_SIZE
from harness.objectives.attention_transfer import attention_loss

DENSENET121 = NetworkConfig(name="densenet121")
DENSENET40 = NetworkConfig(name="densenet40")


def images(batch: int = 2, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def weighted_layers(module: nn.Module) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def on_meta(config: NetworkConfig, num_outputs: int) -> nn.Module:
    with torch.device("meta"):
        return construct(config, num_outputs)


def test_summaries_give_the_papers_counts():
    names = ("network", "scope", "num_outputs", "num_parameters", "num_trainable")
    assert all(tuple(row) == names for row in summaries(14))
    assert [tuple(row.values()) for row in summaries(14)] == [
        ("densenet121", "all", 14, 6_968_206, 6_968_206),
        ("densenet121", "last34", 14, 6_968_206, 2_700_814),
        ("densenet40", "all", 14, 1_364_142, 1_364_142),
    ]


@pytest.mark.parametrize(("num_outputs", "expected"), [(14, 6_968_206), (15, 6_969_231), (1000, 7_978_856)])
def test_densenet121_counts_by_number_of_outputs(num_outputs, expected):
    assert num_parameters(on_meta(DENSENET121, num_outputs)) == expected


def test_densenet121_has_121_layers_and_the_last_34_start_at_transition3():
    layers = weighted_layers(on_meta(DENSENET121, 14))
    assert len(layers) == 121
    assert layers[-34] == "features.transition3.conv"


def test_densenet40_is_composed_as_table_4_says():
    network = on_meta(DENSENET40, 14)
    parts = {name: num_parameters(module) for name, module in network.named_children()}
    assert parts["features"] == 1_297_536
    assert (parts["squeeze"], parts["expand"], parts["norm5"], parts["classifier"]) == (16_416, 33_792, 2_048, 14_350)
    assert len(weighted_layers(network)) == 41


def test_densenet40_features_bear_the_names_and_shapes_of_densenet121():
    shared = {key: value.shape for key, value in on_meta(DENSENET40, 14).features.state_dict().items()}
    whole = {key: value.shape for key, value in on_meta(DENSENET121, 14).features.state_dict().items()}
    assert shared.items() <= whole.items()
    assert list(shared)[-1].startswith("denseblock2.denselayer12.")


def test_densenet121_state_dict_is_torchvisions():
    ours, theirs = on_meta(DENSENET121, 14).state_dict(), densenet121(num_classes=14).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(key, v.shape) for key, v in theirs.items()]


@pytest.mark.parametrize("training", [True, False])
def test_densenet121_computes_what_torchvision_computes(training):
    reference = densenet121(num_classes=5).train(training).double()
    network = build_network(DENSENET121, 5).train(training).double()
    network.load_state_dict(reference.state_dict())
    taps = []
    reference.features.denseblock4.denselayer15.register_forward_hook(lambda *args: taps.append(args[2]))

    expected = reference(images().double())
    output = network(images().double())
    expected.square().sum().backward()
    output.logits.square().sum().backward()

    # To float64 rounding: transitions pool before they convolve, both of which are linear.
    assert distance(output.logits, expected) < 1e-9
    assert distance(output.attention, taps[0]) < 1e-9
    assert (output.attention < 0).any()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert all(distance(parameter.grad, gradients[name]) < 1e-9 for name, parameter in network.named_parameters())
    state = network.state_dict()
    assert all(distance(state[key], value) < 1e-9 for key, value in reference.state_dict().items())


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).detach().double().norm() / theirs.detach().double().norm().clamp_min(1e-12))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("side", "expected"), [(256, 8), (224, 7), (64, 2), (32, 1)])
def test_attention_planes_are_a_32nd_of_the_input(name, side, expected):
    network = build_network(NetworkConfig(name=name), 14).eval()
    with torch.inference_mode():
        output = network(images(1, side))
        planes = network.attention_planes(images(1, side))
    assert output.logits.shape == (1, 14)
    assert output.attention.shape == (1, 32, expected, expected)
    assert torch.equal(planes, output.attention)


def test_attention_planes_need_nothing_behind_the_tap():
    network = build_network(DENSENET121, 14).eval()
    expected = network(images()).attention
    del network.features.denseblock4.denselayer16, network.features.norm5, network.classifier
    assert torch.equal(network.attention_planes(images()), expected)


@pytest.mark.parametrize("side", [256, 224, 64, 32])
def test_densenet40_pool_is_the_adaptive_pool_to_a_32nd(side):
    planes = images(1, side // 8)
    expected = F.adaptive_avg_pool2d(planes, (side // 32, side // 32))
    torch.testing.assert_close(average_pool(planes, POOL_SIZE), expected)


def test_head_relu_changes_the_logits_and_not_the_planes():
    plain = build_network(DENSENET40, 3).eval()
    with_relu = build_network(NetworkConfig(name="densenet40", head_relu=True), 3).eval()
    first, second = plain(images()), with_relu(images())
    assert (first.attention < 0).any()
    assert torch.equal(first.attention, second.attention)
    assert not torch.equal(first.logits, second.logits)
    assert plain.state_dict().keys() == with_relu.state_dict().keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_attention_gradient_stops_at_the_tap(name):
    network = build_network(NetworkConfig(name=name), 3)
    output = network(images())
    attention_loss(output.attention, torch.flip(output.attention.detach(), dims=[0]), "eq2").backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert without == [key for key, _ in network.named_parameters()][-len(without) :]
    first = {"densenet121": "features.denseblock4.denselayer16.norm1.weight", "densenet40": "expand.weight"}
    assert without[0] == first[name]
    assert len(without) == {"densenet121": 10, "densenet40": 6}[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_image_can_be_trained_on(name):
    network = build_network(NetworkConfig(name=name), 3)
    network(images(batch=1)).logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["densenet40", "densenet121"])
def test_torchs_synchronised_batch_norm_serves_as_well(name: str) -> None:
    """It trains on GPUs alone; in eval mode it computes on the CPU, too."""
    plain = build_network(NetworkConfig(name=name), 3).eval()
    network = nn.SyncBatchNorm.convert_sync_batchnorm(build_network(NetworkConfig(name=name), 3)).eval()
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in network.modules()) > 10
    with torch.inference_mode():
        ours, theirs = network(images()), plain(images())
        assert torch.equal(network.attention_planes(images()), theirs.attention)
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.attention, theirs.attention)
    assert network.state_dict().keys() == plain.state_dict().keys()
    draw_weights(network, seed=1)
    if name == "densenet121":
        apply_scope(network, NetworkConfig(name=name, scope="last34", frozen_bn="eval"))
        norms = [module for module in network.train().modules() if isinstance(module, nn.SyncBatchNorm)]
        assert {norm.training for norm in norms} == {True, False}


def test_random_weights_depend_on_the_seed_and_the_name_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_network(DENSENET40, 14)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_network(DENSENET40, 14)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())

    draw_weights(second, seed=7)
    assert not torch.equal(first.classifier.weight, second.classifier.weight)
    larger = build_network(DENSENET121, 14)
    draw_weights(larger, seed=7)
    shared = second.features.state_dict()
    assert all(torch.equal(value, larger.features.state_dict()[key]) for key, value in shared.items())


def test_random_weights_follow_torchvisions_rule():
    network = build_network(DENSENET121, 14)
    weight = network.features.conv0.weight
    assert weight.std().item() == pytest.approx((2 / (3 * 49)) ** 0.5, rel=0.02)
    assert network.classifier.weight.abs().max().item() == pytest.approx(1 / 32, rel=0.01)
    assert network.classifier.bias.eq(0).all()
    norm = network.features.norm5
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all() and norm.running_var.eq(1).all()


def test_unknown_layers_and_no_outputs_are_refused():
    with pytest.raises(TypeError, match="no rule for the random weights of a LayerNorm"):
        draw_weights(nn.Sequential(nn.LayerNorm(3)), seed=0)
    with pytest.raises(ValueError, match="num_outputs = 0; a network needs at least one output"):
        build_network(DENSENET40, 0)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_for_cuda_has_the_bits_of_pytorch_s(size: int, dtype: torch.dtype) -> None:
    found = []
    for pool in (AveragePool.apply, torch.nn.functional.avg_pool2d):
        values = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
        values = values.to(memory_format=torch.channels_last).requires_grad_()
        pooled = pool(values, size)
        pooled.backward(torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2)).to(dtype))
        found.append((pooled, values.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert found[0][1].is_contiguous(memory_format=torch.channels_last)
