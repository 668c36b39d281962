"""Laws of the attention loss, and its three forms against formulas written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.objectives.attention_transfer import FORMS, attention_loss

LAWS = settings(deadline=None, max_examples=40)
SEEDS = st.integers(0, 2**32)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 5), st.integers(1, 5))
SCALES = st.floats(1e-2, 1e4)


def draw(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Planes whose norms are far from zero."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values + 0.1 * values.sign()


@LAWS
@given(SHAPES, SEEDS, st.sampled_from(sorted(FORMS)))
def test_identical_planes_give_0_with_a_finite_gradient(shape, seed, form):
    student = draw(shape, seed).requires_grad_()
    loss = attention_loss(student, student.detach().clone(), form)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(student.grad, torch.zeros(shape))


@LAWS
@given(SHAPES, SEEDS)
def test_negated_planes_are_2_apart(shape, seed):
    planes = draw(shape, seed)
    assert attention_loss(planes, -planes, "eq2").item() == pytest.approx(2.0, abs=1e-6)
    num_positions = shape[2] * shape[3]
    assert attention_loss(planes, -planes, "mean_square").item() == pytest.approx(4 / num_positions, rel=1e-5)
    assert attention_loss(planes, -planes, "original_at").item() == 0.0


@LAWS
@given(SHAPES, SEEDS, SCALES, SCALES, st.sampled_from(sorted(FORMS)))
def test_positive_scales_of_either_argument_change_nothing(shape, seed, student_scale, teacher_scale, form):
    student, teacher = draw(shape, seed), draw(shape, seed + 1)
    expected = attention_loss(student, teacher, form).item()
    scaled = attention_loss(student * student_scale, teacher * teacher_scale, form).item()
    assert scaled == pytest.approx(expected, rel=1e-4, abs=1e-6)


@LAWS
@given(SHAPES, SEEDS)
def test_equation_2_scales_each_plane_on_its_own_and_lies_in_0_to_2(shape, seed):
    student, teacher = draw(shape, seed), draw(shape, seed + 1)
    per_plane = torch.rand(shape[0], shape[1], 1, 1, generator=torch.Generator().manual_seed(seed)) + 0.1
    value = attention_loss(student, teacher, "eq2").item()
    assert 0.0 <= value <= 2.0 + 1e-6
    assert attention_loss(student * per_plane, teacher, "eq2").item() == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert attention_loss(teacher, student, "eq2").item() == pytest.approx(value, rel=1e-6)


@LAWS
@given(SHAPES, SEEDS, st.booleans(), st.sampled_from(sorted(FORMS)))
def test_zero_planes_give_finite_losses_and_gradients(shape, seed, teacher_too, form):
    student = draw(shape, seed)
    student[:, 0] = 0.0
    student.requires_grad_()
    teacher = draw(shape, seed + 1)
    if teacher_too:
        teacher[:, 0] = 0.0
    loss = attention_loss(student, teacher, form)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_equation_2_is_the_papers_formula():
    student = torch.tensor([[[[3.0, 4.0]], [[1.0, 0.0]]], [[[0.0, 2.0]], [[5.0, 12.0]]]])
    teacher = torch.tensor([[[[4.0, 3.0]], [[0.0, 7.0]]], [[[0.0, 9.0]], [[-5.0, -12.0]]]])
    # Image 1: ||(.6,.8)-(.8,.6)|| = sqrt(.08), ||(1,0)-(0,1)|| = sqrt(2); image 2: 0 and 2.
    expected = ((0.08**0.5 + 2**0.5) / 2 + (0 + 2) / 2) / 2
    assert attention_loss(student, teacher, "eq2").item() == pytest.approx(expected, rel=1e-6)
    squares = (0.08 + 2 + 0 + 4) / 8
    assert attention_loss(student, teacher, "mean_square").item() == pytest.approx(squares, rel=1e-6)


def test_original_at_is_the_formula_of_zagoruyko_and_komodakis():
    student = torch.tensor([[[[3.0, 0.0]], [[1.0, 2.0]]]])
    teacher = torch.tensor([[[[0.0, 1.0]], [[0.0, 1.0]]]])
    # Mean squares over channels (5, 2) and (0, 1), each divided by its length.
    first, second = 5 / 29**0.5, 2 / 29**0.5
    expected = (first**2 + (second - 1) ** 2) / 2
    assert attention_loss(student, teacher, "original_at").item() == pytest.approx(expected, rel=1e-6)


def test_unrelated_planes_are_about_the_root_of_2_apart():
    value = attention_loss(draw((8, 32, 8, 8), 0), draw((8, 32, 8, 8), 1), "eq2").item()
    assert value == pytest.approx(2**0.5, rel=0.01)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_under_autocast(form, dtype):
    student, teacher = draw((2, 32, 4, 4), 0).to(dtype), draw((2, 32, 4, 4), 1).to(dtype)
    expected = attention_loss(student.float(), teacher.float(), form)
    student.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = attention_loss(student, teacher, form)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.equal(loss.detach(), expected)
    assert student.grad.dtype == dtype


def test_small_float16_planes_do_not_underflow():
    planes = torch.full((1, 2, 2, 2), 1e-4, dtype=torch.float16)
    assert attention_loss(planes, -planes, "eq2").item() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("teacher", [(2, 32, 4, 4), (2, 16, 8, 8), (1, 32, 8, 8), (2, 32, 64)])
def test_planes_of_other_shapes_are_refused(teacher):
    with pytest.raises(ValueError, match=r"\(2, 32, 8, 8\) \(student\) and .* \(teacher\); expected \(B, C, H, W\)"):
        attention_loss(torch.ones(2, 32, 8, 8), torch.ones(teacher), "eq2")
