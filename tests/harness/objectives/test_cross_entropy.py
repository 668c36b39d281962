"""Masked cross-entropy against PyTorch's own, with and without gaps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.objectives.base import masked_cross_entropy

LAWS = settings(deadline=None, max_examples=40)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 14))


def draw(size: tuple[int, int], seed: int, ignored: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(size, generator=generator)
    targets = torch.randint(0, 2, size, generator=generator, dtype=torch.uint8)
    targets[torch.rand(size, generator=generator) < ignored] = 255
    return logits.requires_grad_(), targets


@LAWS
@given(SIZES, st.integers(0, 2**32))
def test_without_gaps_it_is_bce_with_logits(size, seed):
    logits, targets = draw(size, seed)
    reference = logits.detach().clone().requires_grad_()
    loss, expected = masked_cross_entropy(logits, targets), nn.BCEWithLogitsLoss()(reference, targets.float())
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad, reference.grad)


@LAWS
@given(SIZES, st.integers(0, 2**32))
def test_gaps_count_for_nothing(size, seed):
    logits, targets = draw(size, seed, ignored=0.4)
    targets[0, 0] = 1
    kept = targets != 255
    reference = logits.detach().clone().requires_grad_()
    loss = masked_cross_entropy(logits, targets)
    expected = nn.BCEWithLogitsLoss()(reference[kept], targets[kept].float())
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad, reference.grad)
    assert logits.grad[~kept].eq(0).all()


def test_a_gap_hides_whatever_the_logit_is():
    logits = torch.tensor([[0.0, float("nan"), float("inf")]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.tensor([[1, 255, 255]], dtype=torch.uint8))
    loss.backward()
    assert loss.item() == pytest.approx(0.6931472)
    assert logits.grad.tolist() == [[-0.5, 0.0, 0.0]]


def test_a_batch_of_gaps_gives_0_with_a_gradient_of_0():
    logits = torch.randn(3, 14, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((3, 14), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(3, 14))


def test_the_loss_is_float32_under_autocast():
    logits, targets = draw((4, 14), 0, ignored=0.2)
    half = logits.detach().to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_cross_entropy(half, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, masked_cross_entropy(half.float(), targets))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"logits of shape \(2, 14\), targets of shape \(2, 1\)"):
        masked_cross_entropy(torch.zeros(2, 14), torch.zeros(2, 1, dtype=torch.uint8))
