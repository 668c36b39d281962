"""Objectives: equation (1), its parts, and what weight 0 must leave alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from arithmetic import needs
from torch import nn

from harness.config import (
    AttentionTransfer,
    BetaSearch,
    DataConfig,
    NetworkConfig,
    RunConfig,
    TransferLearning,
    Weights,
)
from harness.networks import Network, NetworkOutput, build_network
from harness.objectives import (
    Losses,
    Objective,
    PlaneObjective,
    Sources,
    SupervisedObjective,
    build_objective,
)
from harness.objectives.attention_transfer import attention_loss
from harness.objectives.base import masked_cross_entropy
from harness.runs.runtime import RuntimeConfig
from harness.weights.teacher import read_teacher

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(4, 3, 64, 64, generator=GENERATOR)
TARGETS = torch.randint(0, 2, (4, 5), generator=GENERATOR, dtype=torch.uint8)
TARGETS[0, 0] = 255


@pytest.fixture(scope="module")
def teacher() -> Network:
    return read_teacher(Weights(kind="none"), RuntimeConfig()).network


def student(name: str = "densenet40") -> Network:
    return build_network(NetworkConfig(name=name), 5)


def step(network: Network, objective: Objective) -> Losses:
    losses = objective(network(IMAGES), IMAGES, TARGETS)
    losses.total.backward()
    return losses


def gradients(network: Network) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def attention_transfer(teacher: Network, weight: float, form: str = "eq2") -> PlaneObjective:
    return PlaneObjective(teacher, weight, partial(attention_loss, form=form))


def test_supervised_is_cross_entropy_alone():
    network = student()
    losses = step(network, SupervisedObjective())
    assert losses.total is losses.cross_entropy
    assert losses.attention is None
    assert all(gradient is not None for gradient in gradients(network).values())


@pytest.mark.parametrize("form", ["eq2", "mean_square", "original_at"])
@pytest.mark.parametrize("name", ["densenet40", "densenet121"])
def test_attention_transfer_is_equation_1(teacher, name, form):
    network = student(name)
    losses = step(network, attention_transfer(teacher, weight=0.25, form=form))
    again = student(name)(IMAGES)
    cross_entropy = masked_cross_entropy(again.logits, TARGETS)
    attention = attention_loss(again.attention, teacher.attention_planes(IMAGES), form)
    assert torch.equal(losses.cross_entropy, cross_entropy)
    assert torch.equal(losses.attention, attention)
    assert torch.equal(losses.total, cross_entropy + 0.25 * attention)
    assert not losses.attention.requires_grad


@pytest.mark.parametrize("name", ["densenet40", "densenet121"])
def test_weight_0_is_transfer_learning_bit_for_bit(teacher, name):
    with_teacher, alone = student(name), student(name)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    losses = step(with_teacher, attention_transfer(teacher, weight=0.0))
    assert torch.equal(torch.get_rng_state(), before)
    expected = step(alone, SupervisedObjective())
    assert torch.equal(losses.total, expected.total)
    assert losses.attention.item() > 0.5
    ours, theirs = gradients(with_teacher), gradients(alone)
    assert all(torch.equal(gradient, theirs[key]) for key, gradient in ours.items())
    assert all(torch.equal(v, alone.state_dict()[key]) for key, v in with_teacher.state_dict().items())


def test_a_weight_changes_the_gradient_before_the_tap_and_not_behind_it(teacher):
    with_teacher, alone = student(), student()
    step(with_teacher, attention_transfer(teacher, weight=1.0))
    step(alone, SupervisedObjective())
    ours, theirs = gradients(with_teacher), gradients(alone)
    for key, gradient in ours.items():
        behind = key.startswith(("expand", "norm5", "classifier"))
        assert torch.equal(gradient, theirs[key]) == behind, key


def test_the_teacher_is_left_alone_and_is_no_part_of_the_student(teacher):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    network = student()
    num_parameters = len(list(network.parameters()))
    objective = attention_transfer(teacher, weight=1.0)
    step(network, objective)
    assert not isinstance(objective, nn.Module)
    assert len(list(network.parameters())) == num_parameters
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@needs("bf16")
def test_losses_are_float32_and_the_teacher_runs_under_the_callers_autocast(teacher):
    network = student()
    objective = attention_transfer(teacher, weight=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(IMAGES)
        assert output.attention.dtype == torch.bfloat16
        losses = objective(output, IMAGES, TARGETS)
    assert {loss.dtype for loss in losses} == {torch.float32}
    losses.total.backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(network).values())
    outside = objective(NetworkOutput(output.logits.detach(), output.attention.detach()), IMAGES, TARGETS)
    assert 0 < abs(outside.attention - losses.attention) < 0.05


def test_a_student_that_is_its_teachers_copy_has_a_finite_gradient(teacher):
    network = build_network(NetworkConfig(), 1).eval()
    network.load_state_dict(teacher.state_dict())
    losses = attention_transfer(teacher, weight=1.0)(network(IMAGES), IMAGES, TARGETS[:, :1])
    losses.total.backward()
    assert losses.attention.item() == 0.0
    assert all(torch.isfinite(gradient).all() for gradient in gradients(network).values())


def test_an_objective_works_while_validating(teacher):
    network = student().eval()
    with torch.inference_mode():
        losses = attention_transfer(teacher, weight=2.0)(network(IMAGES), IMAGES, TARGETS)
    assert losses.total == losses.cross_entropy + 2.0 * losses.attention


def build(config: TransferLearning | AttentionTransfer, weight: float | None = None) -> Objective:
    return build_objective(config, Sources(runtime=RuntimeConfig(), device=torch.device("cpu"), weight=weight))


def test_objectives_are_built_from_their_configs():
    assert build(TransferLearning()) == SupervisedObjective()
    random = Weights(kind="none")
    divided = build(AttentionTransfer(teacher=random, beta=4.0, form="mean_square"))
    assert isinstance(divided, PlaneObjective)
    assert (divided.weight, divided.loss.func, divided.loss.keywords) == (
        0.25,
        attention_loss,
        {"form": "mean_square"},
    )
    assert not divided.teacher.training and not any(one.requires_grad for one in divided.teacher.parameters())
    chosen = build(AttentionTransfer(teacher=random, beta=4.0), weight=0.5)
    assert isinstance(chosen, PlaneObjective)
    assert chosen.weight == 0.5


def test_an_unresolved_search_is_refused():
    template = RunConfig(
        data=DataConfig(dataset="chexpert"), objective=AttentionTransfer(teacher=Weights(kind="none"))
    )
    searched = AttentionTransfer(teacher=Weights(kind="none"), beta=BetaSearch(template=template, points=(1.0, 2.0)))
    with pytest.raises(ValueError, match="beta is chosen by a search that has not been resolved"):
        build(searched)
