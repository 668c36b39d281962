"""Planes of unequal number or size: maps and sizes that are averaged, and the convolution that is trained."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.config import AttentionTransfer, ChannelWise, NetworkConfig, Weights
from harness.networks import build_network
from harness.objectives import Sources, build_objective
from harness.objectives.attention_transfer import attention_loss
from harness.objectives.base import build_regressor, projected, same_size
from harness.runs.runtime import RuntimeConfig

SIZES = st.integers(1, 9)
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def planes(num: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(2, num, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(first=st.tuples(SIZES, SIZES), second=st.tuples(SIZES, SIZES))
def test_larger_planes_are_averaged_as_pytorch_pools_them(first: tuple[int, int], second: tuple[int, int]) -> None:
    size = min(first[0], second[0]), min(first[1], second[1])
    for found, given_planes in zip(same_size(planes(3, *first), planes(5, *second)), (first, second), strict=True):
        num = found.shape[1]
        torch.testing.assert_close(found, F.adaptive_avg_pool2d(planes(num, *given_planes), size))


def test_planes_of_one_size_stay_the_same_tensors() -> None:
    first, second = planes(3, 4, 4), planes(5, 4, 4)
    assert same_size(first, second)[0] is first and same_size(first, second)[1] is second


@settings(max_examples=20, deadline=None)
@given(copies=st.integers(1, 4), factor=st.integers(1, 3), seed=st.integers(0, 99))
def test_maps_see_neither_the_number_of_planes_nor_an_enlargement(copies: int, factor: int, seed: int) -> None:
    """Both leave the mean square over planes at every position, or an area's mean of it, as it was."""
    student, teacher = planes(3, 4, 4, seed).float(), planes(7, 4, 4, seed + 1).float()
    other = teacher.repeat(1, copies, 1, 1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    expected = attention_loss(student, teacher, "original_at")
    torch.testing.assert_close(attention_loss(student, other, "original_at"), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(attention_loss(other, teacher, "original_at"), torch.tensor(0.0), rtol=0, atol=1e-7)


def test_a_map_of_two_by_two_is_averaged_to_one_by_exact_numbers() -> None:
    """Mean squares 1, 3 and 5, 7 against a row of two: the columns' means 3 and 5, each over the root of 34."""
    student = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]).sqrt()
    teacher = torch.tensor([[[[1.0, 0.0]]]])
    unit = [3 / 34**0.5, 5 / 34**0.5]
    expected = ((unit[0] - 1) ** 2 + unit[1] ** 2) / 2
    assert attention_loss(student, teacher, "original_at").item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("num", "taught"), [(3, 5), (5, 3)])
def test_a_regressor_starts_with_the_first_planes_and_nothing_else(num: int, taught: int) -> None:
    student, teacher = planes(num, 4, 4).float(), planes(taught, 2, 2).float()
    found, same = projected(student, teacher, build_regressor(num, taught))
    both = min(num, taught)
    torch.testing.assert_close(found[:, :both], F.avg_pool2d(student, 2)[:, :both])
    assert found.shape == teacher.shape and found[:, both:].eq(0).all() and same is teacher


@pytest.mark.parametrize("objective", [AttentionTransfer, ChannelWise])
def test_projected_planes_train_student_and_convolution(objective: type) -> None:
    student = build_network(NetworkConfig(name="timm/test_vit", image_size=64), 3)
    sources = Sources(runtime=RuntimeConfig(), device=torch.device("cpu"), num_planes=student.num_planes)
    built = build_objective(objective(teacher=Weights(kind="none"), weight=0.5, project=True), sources)
    assert built.module is not None
    assert [tuple(parameter.shape) for parameter in built.module.parameters()] == [(32, 64, 1, 1), (32,)]
    losses = built(student(IMAGES), IMAGES, torch.zeros(4, 3, dtype=torch.uint8))
    losses.total.backward()
    assert torch.equal(losses.total, losses.cross_entropy + 0.5 * losses.attention)
    assert all(parameter.grad.abs().max() > 0 for parameter in built.module.parameters())
    plain = build_objective(objective(teacher=Weights(kind="none"), weight=0.0, project=True), sources)
    assert plain.module is None
