"""Losses of the further objectives: exact values on tiny tensors, their laws, float32, and refused shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.config import Relational, Weights
from harness.objectives.base import build_regressor, projected
from harness.objectives.channel_wise import channel_wise_loss
from harness.objectives.fitnet import hint_loss
from harness.objectives.logit_distillation import distillation_loss
from harness.objectives.relational import angle_loss, distance_loss, embed, relational_loss

CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
"""Distances 1, 1 and the root of 2; one right angle and two of 45 degrees."""
TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
"""Distances 3, 4 and 5; cosines 0, 3/5 and 4/5."""


def rkd(**changes: Any) -> Relational:
    return Relational(teacher=Weights(kind="none"), **changes)


def planes(seed: int, *, batch: int = 4, num: int = 3) -> Tensor:
    return torch.randn(batch, num, 2, 2, generator=torch.Generator().manual_seed(seed))


def hinted(student: Tensor, teacher: Tensor, regressor: torch.nn.Module) -> Tensor:
    return hint_loss(*projected(student, teacher, regressor))


PLANE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "fitnet": lambda s, t: hinted(s, t, build_regressor(s.shape[1] if s.ndim > 1 else 3)),
    "relational": lambda s, t: relational_loss(s, t, rkd()),
    "relational planes": lambda s, t: relational_loss(s, t, rkd(embedding="planes")),
    "channel_wise": lambda s, t: channel_wise_loss(s, t, 4.0),
}


def test_distillation_of_one_logit() -> None:
    """At T = 2: softplus(1) - 0.5 * 1, times 4."""
    loss = distillation_loss(torch.tensor([[2.0]]), torch.tensor([[0.0]]), 2.0)
    assert loss.item() == pytest.approx(4.0 * (math.log1p(math.exp(1.0)) - 0.5))


def test_distillation_is_a_mean_over_images_and_labels() -> None:
    student, teacher = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[0.0, 1.0], [-1.0, 2.0]])
    expected = 0.0
    for z, t in zip((student / 4).flatten().tolist(), (teacher / 4).flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-t)), 1 / (1 + math.exp(-z))
        expected -= 16 * (p * math.log(q) + (1 - p) * math.log(1 - q)) / 4
    assert distillation_loss(student, teacher, 4.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_a_distilled_copy_has_the_teachers_entropy_and_no_gradient(temperature: float) -> None:
    teacher = torch.tensor([[1.0, -3.0]])
    student = teacher.clone().requires_grad_()
    loss = distillation_loss(student, teacher, temperature)
    loss.backward()
    p = torch.sigmoid(teacher / temperature)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean() * temperature**2
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-6)
    assert student.grad.abs().max() < 1e-6
    assert distillation_loss(teacher + 0.5, teacher, temperature) > loss


def test_a_high_temperature_matches_logits() -> None:
    """Section 2.1 of the source: for T without bound the gradient is that of the squared difference of logits."""
    teacher, student = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]], requires_grad=True)
    distillation_loss(student, teacher, 1e3).backward()
    assert torch.allclose(student.grad, (student.detach() - teacher) / 4 / 2, rtol=1e-3)


def test_hint_loss_is_the_mean_squared_error_behind_the_regressor() -> None:
    student, teacher = torch.ones(1, 2, 1, 2), torch.tensor([[[[1.0, 3.0]], [[1.0, 0.0]]]])
    regressor = build_regressor(2)
    assert hinted(student, teacher, regressor).item() == (0 + 4 + 0 + 1) / 4
    with torch.no_grad():
        regressor.weight.copy_(torch.tensor([[0.0, 2.0], [1.0, 0.0]]).view(2, 2, 1, 1))
        regressor.bias.copy_(torch.tensor([1.0, -1.0]))
    # First plane 2 * 1 + 1 = 3, second 1 - 1 = 0.
    assert hinted(student, teacher, regressor).item() == (4 + 0 + 1 + 0) / 4


def test_the_regressor_draws_no_random_number_and_learns() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    regressor = build_regressor()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(regressor.weight[:, :, 0, 0], torch.eye(32))
    hinted(planes(0, num=32), planes(1, num=32), regressor).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in regressor.parameters())


def test_a_trained_regressor_undoes_a_mixing_of_planes() -> None:
    regressor, teacher = build_regressor(3), planes(0, batch=64)
    student = torch.einsum(
        "bchw,cd->bdhw", teacher, torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
    )
    optimizer = torch.optim.Adam(regressor.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = hinted(student, teacher, regressor)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_distances_in_units_of_their_mean() -> None:
    mean = (2 + math.sqrt(2)) / 3
    ours, theirs = [1 / mean, 1 / mean, math.sqrt(2) / mean], [0.75, 1.0, 1.25]
    expected = sum(0.5 * (a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / 3
    assert distance_loss(CORNERS, TRIANGLE).item() == pytest.approx(expected, rel=1e-5)


def test_angles_at_the_middle_image() -> None:
    expected = (0.0 + 0.5 * (math.sqrt(0.5) - 0.6) ** 2 + 0.5 * (math.sqrt(0.5) - 0.8) ** 2) / 3
    assert angle_loss(CORNERS, TRIANGLE).item() == pytest.approx(expected, rel=1e-5)


def test_hubers_loss_grows_linearly_beyond_1() -> None:
    """On a line, 0 1 2: cosines 1, -1, 1 at the images; the student's 1 0 2 has -1, 1, 1: differences 2, 2, 0."""
    teacher, student = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.0], [2.0]])
    assert angle_loss(student, teacher).item() == pytest.approx((1.5 + 1.5 + 0.0) / 3, rel=1e-6)


def test_relational_loss_weighs_both_parts_of_pooled_planes() -> None:
    """Planes whose means are the corners; deviations from the mean do not count when pooled."""
    ripple = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    student, teacher = (points[:, :, None, None] + ripple for points in (CORNERS, TRIANGLE))
    assert torch.allclose(embed(student, "pooled"), CORNERS)
    assert embed(student, "planes").shape == (3, 8)
    both = 3.0 * distance_loss(CORNERS, TRIANGLE) + 0.5 * angle_loss(CORNERS, TRIANGLE)
    assert relational_loss(student, teacher, rkd(distance=3.0, angle=0.5)).item() == pytest.approx(
        both.item(), rel=1e-5
    )
    alone = relational_loss(student, teacher, rkd(distance=1.0, angle=0.0))
    assert alone.item() == pytest.approx(distance_loss(CORNERS, TRIANGLE).item(), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_too_few_images_have_no_relations(batch: int) -> None:
    student, teacher = planes(0, batch=batch).requires_grad_(), planes(1, batch=batch)
    loss = relational_loss(student, teacher, rkd())
    loss.backward()
    assert loss.item() == 0.0  # of two images the only distance is the mean one
    assert student.grad.abs().max() < 1e-6


def test_equal_images_leave_the_gradient_finite() -> None:
    student = torch.zeros(4, 3, 2, 2, requires_grad=True)
    relational_loss(student, planes(1), rkd()).backward()
    assert torch.isfinite(student.grad).all()


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.1, 10.0), shift=st.floats(-5.0, 5.0), angle=st.floats(0.0, 6.3), seed=st.integers(0, 99))
def test_relations_know_neither_scale_nor_place_nor_direction(
    scale: float, shift: float, angle: float, seed: int
) -> None:
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    moved = scale * points @ turn + shift
    assert distance_loss(moved, points).item() == pytest.approx(0.0, abs=1e-9)
    assert angle_loss(moved, points).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_channel_wise_divergence_of_two_positions(temperature: float) -> None:
    """Teacher 3/4 and 1/4, student 1/2 each: KL = 3/4 ln(3/2) + 1/4 ln(1/2); the second plane is the same in both."""
    teacher = torch.tensor([[[[temperature * math.log(3.0), 0.0]], [[1.0, 2.0]]]])
    student = torch.tensor([[[[5.0, 5.0]], [[1.0, 2.0]]]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    expected = temperature**2 * divergence / 2
    assert channel_wise_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_channel_wise_loss_ignores_how_strongly_a_channel_is_active() -> None:
    moved = planes(0) + torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1)
    assert channel_wise_loss(moved, planes(0), 1.0).item() == pytest.approx(0.0, abs=1e-6)
    assert channel_wise_loss(2.0 * planes(0), planes(0), 1.0).item() > 0.01


@pytest.mark.parametrize("name", PLANE_LOSSES)
def test_a_copy_loses_nothing_and_has_a_finite_gradient(name: str) -> None:
    student = planes(0).requires_grad_()
    loss = PLANE_LOSSES[name](student, planes(0))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert student.grad.abs().max() < 1e-4
    assert PLANE_LOSSES[name](planes(0), planes(1)).item() > 0.01


@pytest.mark.parametrize("name", ["fitnet", "channel_wise"])
def test_the_loss_is_a_mean_over_the_batch(name: str) -> None:
    """So that shares of a global batch add up to it; relations are those within a share."""
    halves = [PLANE_LOSSES[name](planes(0)[part], planes(1)[part]).item() for part in (slice(0, 2), slice(2, 4))]
    assert PLANE_LOSSES[name](planes(0), planes(1)).item() == pytest.approx(sum(halves) / 2, rel=1e-5)


@pytest.mark.parametrize("name", [*PLANE_LOSSES, "distillation"])
def test_losses_are_float32_under_autocast(name: str) -> None:
    losses = {**PLANE_LOSSES, "distillation": lambda s, t: distillation_loss(s, t, 2.0)}
    student, teacher, loss = planes(0).bfloat16(), planes(1).bfloat16(), losses[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(student.float(), teacher.float()))


@pytest.mark.parametrize("name", PLANE_LOSSES)
@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (4, 3, 4)])
def test_planes_of_other_images_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, C, H, W\), (the same for both|of as many images)"):
        PLANE_LOSSES[name](planes(0), torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (4, 1, 2, 2)])
def test_planes_that_pair_must_be_of_one_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, C, H, W\), the same for both"):
        channel_wise_loss(planes(0), torch.zeros(shape), 4.0)
    assert relational_loss(planes(0), planes(1)[:, : shape[1]], rkd()) > 0.0


def test_logits_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3\) \(student\) and \(2, 1\) \(teacher\)"):
        distillation_loss(torch.zeros(2, 3), torch.zeros(2, 1), 1.0)
