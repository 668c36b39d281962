"""The further objectives as the training loop calls them: their sum, their gradients, what they are built from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from arithmetic import needs
from torch import nn
from weights_fixtures import write_run

from datasets.errors import InputError
from harness.config import (
    ChannelWise,
    DataConfig,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Relational,
    RunConfig,
    TransferLearning,
    Weights,
)
from harness.config import Objective as ObjectiveConfig
from harness.networks import Network, build_network
from harness.objectives import (
    LogitDistillationObjective,
    Losses,
    Objective,
    Sources,
    SupervisedObjective,
)
from harness.objectives import build_objective as build_any
from harness.objectives.base import masked_cross_entropy, projected
from harness.objectives.channel_wise import channel_wise_loss
from harness.objectives.fitnet import hint_loss
from harness.objectives.logit_distillation import distillation_loss
from harness.objectives.relational import relational_loss
from harness.runs.runtime import RuntimeConfig

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(4, 3, 64, 64, generator=GENERATOR)
TARGETS = torch.randint(0, 2, (4, 3), generator=GENERATOR, dtype=torch.uint8)
TARGETS[0, 0] = 255
LABELS = ("third", "other", "first")
TEACHER = RunConfig(data=DataConfig(dataset="mimic_cxr"))
OURS = Weights(kind="run", run=TEACHER)
METHODS: dict[str, type[Any]] = {
    "logit_distillation": LogitDistillation,
    "fitnet": FitNet,
    "relational": Relational,
    "channel_wise": ChannelWise,
}


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the teacher's run, whose labels are first, second and third."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, TEACHER)
    return folder


def build(config: ObjectiveConfig, runs_dir: Path, labels: tuple[str, ...] = LABELS) -> Any:
    return build_any(
        config, Sources(runtime=RuntimeConfig(runs_dir=runs_dir), device=torch.device("cpu"), labels=labels)
    )


def student() -> Network:
    return build_network(NetworkConfig(name="densenet40"), 3)


def step(network: Network, objective: Objective) -> Losses:
    losses = objective(network(IMAGES), IMAGES, TARGETS)
    losses.total.backward()
    return losses


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def transfer_loss(objective: Any, config: Any, output: Any) -> torch.Tensor:
    """The objective's own term, from its loss function and the teacher's output."""
    taught = objective.teacher(IMAGES)
    if isinstance(config, FitNet):
        return hint_loss(*projected(output.attention, taught.attention, objective.regressor))
    if isinstance(objective, LogitDistillationObjective):
        return distillation_loss(output.logits[:, [0, 2]], taught.logits[:, [2, 0]], objective.temperature)
    if isinstance(config, Relational):
        return relational_loss(output.attention, taught.attention, config)
    return channel_wise_loss(output.attention, taught.attention, config.temperature)


@pytest.mark.parametrize("method", METHODS)
def test_the_sum_is_equation_1_with_another_loss(runs_dir: Path, method: str) -> None:
    config = METHODS[method](teacher=OURS, weight=0.25)
    objective = build(config, runs_dir)
    losses = step(student(), objective)
    again = student()(IMAGES)
    assert torch.equal(losses.cross_entropy, masked_cross_entropy(again.logits, TARGETS))
    assert torch.equal(losses.attention, transfer_loss(objective, config, again))
    assert torch.equal(losses.total, losses.cross_entropy + 0.25 * losses.attention)
    assert losses.attention.item() > 0.0
    assert not losses.attention.requires_grad


@pytest.mark.parametrize("method", ["transfer_learning", *METHODS])
def test_positive_weights_are_those_of_the_cross_entropy(runs_dir: Path, method: str) -> None:
    config = TransferLearning() if method == "transfer_learning" else METHODS[method](teacher=OURS)
    weights = torch.tensor([5.0, 1.0, 0.5])
    where = {"runtime": RuntimeConfig(runs_dir=runs_dir), "device": torch.device("cpu"), "labels": LABELS}
    objective = build_any(config, Sources(**where, positive_weights=weights))  # type: ignore[arg-type]
    network = student()
    losses = step(network, objective)
    expected = masked_cross_entropy(student()(IMAGES).logits, TARGETS, weights)
    assert torch.equal(losses.cross_entropy, expected)
    assert not torch.equal(expected, masked_cross_entropy(student()(IMAGES).logits, TARGETS))


def test_an_objective_that_takes_no_positive_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.objectives.supervised.build", lambda config, sources: object())
    sources = Sources(runtime=RuntimeConfig(), device=torch.device("cpu"), positive_weights=torch.ones(3))
    with pytest.raises(
        InputError, match=r"^loss.positive_weights: the objective transfer_learning does not take them"
    ):
        build_any(TransferLearning(), sources)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_reaches_the_student_and_not_the_teacher(runs_dir: Path, method: str) -> None:
    objective = build(METHODS[method](teacher=OURS), runs_dir)
    before = {name: value.clone() for name, value in objective.teacher.state_dict().items()}
    with_teacher, alone = student(), student()
    step(with_teacher, objective)
    step(alone, SupervisedObjective())
    ours, theirs = gradients(with_teacher), gradients(alone)
    behind_the_tap = ("expand", "norm5", "classifier")
    for name, gradient in ours.items():
        untouched = name.startswith(behind_the_tap) and method != "logit_distillation"
        assert torch.equal(gradient, theirs[name]) == untouched, name
    assert all(gradient is None for gradient in gradients(objective.teacher).values())
    assert all(torch.equal(value, before[name]) for name, value in objective.teacher.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_weight_0_is_transfer_learning_bit_for_bit(runs_dir: Path, method: str) -> None:
    objective = build(METHODS[method](teacher=OURS, weight=0.0), runs_dir)
    with_teacher, alone = student(), student()
    losses = step(with_teacher, objective)
    assert torch.equal(losses.total, step(alone, SupervisedObjective()).total)
    ours, theirs = gradients(with_teacher), gradients(alone)
    assert all(torch.equal(gradient, theirs[name]) for name, gradient in ours.items())
    assert objective.module is None  # what has no gradient is not trained


@needs("bf16")
@pytest.mark.parametrize("method", METHODS)
def test_losses_are_float32_under_autocast(runs_dir: Path, method: str) -> None:
    network, objective = student(), build(METHODS[method](teacher=OURS), runs_dir)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(network(IMAGES), IMAGES, TARGETS)
    assert {loss.dtype for loss in losses} == {torch.float32}
    losses.total.backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(network).values())


@pytest.mark.parametrize("method", METHODS)
def test_an_objective_works_while_validating(runs_dir: Path, method: str) -> None:
    objective = build(METHODS[method](teacher=OURS, weight=2.0), runs_dir)
    with torch.inference_mode():
        losses = objective(student().eval()(IMAGES), IMAGES, TARGETS)
    assert losses.total == losses.cross_entropy + 2.0 * losses.attention


def test_fitnet_alone_trains_something_beside_the_student(runs_dir: Path) -> None:
    for method, config in METHODS.items():
        objective = build(config(teacher=OURS), runs_dir)
        assert (objective.module is not None) == (method == "fitnet")
    objective = build(FitNet(teacher=OURS), runs_dir)
    assert sum(parameter.numel() for parameter in objective.module.parameters()) == 32 * 32 + 32
    step(student(), objective)
    assert all(gradient.abs().max() > 0 for gradient in gradients(objective.module).values())


def test_distilled_labels_are_paired_by_name_and_reported(runs_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    objective = build(LogitDistillation(teacher=OURS), runs_dir)
    assert objective.student_columns.tolist() == [0, 2]
    assert objective.teacher_columns.tolist() == [2, 0]
    assert caplog.messages == ["logit distillation over 2 of 3 labels: third, first"]


def test_labels_that_only_one_of_them_has_are_not_distilled(runs_dir: Path) -> None:
    objective = build(LogitDistillation(teacher=OURS), runs_dir)
    output = student()(IMAGES)
    losses = objective(output, IMAGES, torch.full_like(TARGETS, 255))
    (gradient,) = torch.autograd.grad(losses.total, output.logits)
    assert (gradient[:, 1] == 0).all()
    assert (gradient[:, [0, 2]] != 0).all()


def test_a_teacher_of_other_labels_is_refused(runs_dir: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(LogitDistillation(teacher=OURS), runs_dir, labels=("a", "b"))
    message = str(caught.value)
    assert f"run {TEACHER.run_id} has no label of the student's; its labels: first, second, third;" in message
    assert "the student's: a, b;" in message
    assert "\n" not in message
