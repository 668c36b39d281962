"""Fused dense blocks and norms against torch's own modules, in values, gradients, running statistics and threads."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.densenet import _DenseBlock

from harness.fused import entry, kernels, openmp
from harness.fused.norm import Rows, measure
from harness.networks import dense
from harness.networks.dense import dense_block, norm_relu

GNU_OPENMP = "libgomp" in Path("/proc/self/maps").read_text() if sys.platform == "linux" else False
pytestmark = pytest.mark.skipif(not GNU_OPENMP, reason="torch does not compute on GNU OpenMP here")


def distance(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-12))


def values(*shape: int, seed: int = 0, offset: float = 0.5) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + offset
    return made.to(memory_format=torch.channels_last) if len(shape) == 4 else made


def shares(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small_block(seed: int = 0) -> nn.Module:
    block = _DenseBlock(num_layers=4, num_input_features=24, bn_size=2, growth_rate=8, drop_rate=0.0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1)
    return block


def pass_through(
    forward: Callable[[nn.Module, Tensor], Any], module: nn.Module, images: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """Everything that a training step sees of a module."""
    module = copy.deepcopy(module)
    images = images.clone().requires_grad_()
    planes, tapped = forward(module, images)
    (planes.square() * weights).sum().add(tapped.square().sum() * 3).backward()
    found = {"planes": planes, "tapped": tapped, "images": images.grad}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
    return {name: value.detach() for name, value in (found | module.state_dict()).items()}


def exact_block(block: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """torchvision's own block, whose gradients are what all others are measured by."""
    taps = []
    block.get_submodule("denselayer3").register_forward_hook(lambda *args: taps.append(args[2]))
    return block(images), taps[0]


def fused_block(block: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found = entry.dense_block(block, images, "denselayer3")
    assert found is not None
    return found


def test_the_fused_form_is_there_where_torch_computes_on_gnu_openmp() -> None:
    assert entry.AVAILABLE


def test_a_block_computes_what_torchvisions_block_computes() -> None:
    block, images = small_block(), values(3, 24, 9, 7)
    weights = shares(3, 56, 9, 7)
    exact = pass_through(exact_block, block.double(), images.double(), weights.double())
    plain = pass_through(exact_block, block.float(), images, weights)
    ours = pass_through(fused_block, block, images, weights)
    assert ours.keys() == exact.keys()
    for name, value in exact.items():
        assert distance(ours[name], value) < max(10 * distance(plain[name], value), 5e-6), name


def test_a_block_in_bfloat16_is_about_as_close_to_exact_as_torchs_own() -> None:
    weights = shares(3, 56, 9, 7)
    errors: dict[str, list[tuple[float, float]]] = {}
    for seed in range(6):
        block, images = small_block(seed), values(3, 24, 9, 7, seed=seed).bfloat16()
        exact = pass_through(exact_block, block.double(), images.double(), weights.double())
        block.float()
        with torch.autocast("cpu", torch.bfloat16):
            plain = pass_through(exact_block, block, images, weights)
            ours = pass_through(fused_block, block, images, weights)
        assert ours["planes"].dtype == ours["tapped"].dtype == ours["images"].dtype == torch.bfloat16
        for name, value in exact.items():
            errors.setdefault(name, []).append((distance(ours[name], value), distance(plain[name], value)))
    for name, found in errors.items():
        of_ours, of_plain = np.mean(found, axis=0)
        assert of_ours < max(1.35 * of_plain, 1e-5), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (4, 64, 33, 32), (32, 16, 1, 1)])
def test_norm_and_relu_are_as_close_to_exact_as_torchs_own(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    def pair(forward: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]:
        return lambda module, x: (forward(module, x), torch.zeros(1))

    torchs = pair(lambda module, x: F.relu(module(x)))
    errors: dict[str, list[tuple[float, float]]] = {}
    for seed in range(6):
        norm = nn.BatchNorm2d(shape[1])
        norm.weight.data, norm.bias.data = values(shape[1], seed=seed), values(shape[1], seed=seed + 100)
        images, weights = values(*shape, seed=seed).to(dtype), values(*shape, seed=seed + 200)
        exact = pass_through(torchs, norm.double(), images.double(), weights.double())
        plain = pass_through(torchs, norm.float(), images, weights)
        ours = pass_through(pair(norm_relu), norm.float(), images, weights)
        assert ours["planes"].dtype == dtype
        assert ours["planes"].is_contiguous(memory_format=torch.channels_last)
        for name, value in exact.items():
            assert dtype is torch.bfloat16 or distance(ours[name], value) < 1e-6, name
            errors.setdefault(name, []).append((distance(ours[name], value), distance(plain[name], value)))
    for name, found in errors.items():
        of_ours, of_plain = np.mean(found, axis=0)
        assert of_ours < max(1.35 * of_plain, 1e-6) and of_ours < 1e-2, name


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    """The norm is made the identity, so that what is stored is the ReLU of what was loaded."""
    bits = torch.arange(0, 1 << 15, dtype=torch.int32).to(torch.int16)
    exact = bits.view(torch.bfloat16).float()
    finite = exact[exact.isfinite()]
    halves = (finite[:-1] + finite[1:]) / 2  # ties, and then their neighbours
    numbers = torch.cat([finite, halves, halves * (1 + 2**-20), halves * (1 - 2**-20)])
    rows = numbers[numbers.isfinite()][:, None].contiguous()
    one, zero, out = torch.ones(1), torch.zeros(1), torch.empty(len(rows), 1, dtype=torch.bfloat16)
    code, _ = kernels.address(kernels.normalise, np.uint16)
    stored = rows.to(torch.bfloat16)
    arguments = [0, 1000, len(rows), 1, 2, stored.data_ptr(), 1, one.data_ptr(), zero.data_ptr(), out.data_ptr()]
    openmp.run(code, np.array(arguments, dtype=np.int64))
    assert torch.equal(out, stored)
    third = torch.full((1,), 1 / 3)
    arguments[7] = third.data_ptr()
    arguments[0] = 0
    openmp.run(code, np.array(arguments, dtype=np.int64))
    assert torch.equal(out, (stored.float() * third).to(torch.bfloat16))


def test_what_is_not_a_number_stays_so() -> None:
    images = values(2, 3, 4, 4)
    images[1, 2, 3, 3] = torch.nan
    for dtype in (torch.float32, torch.bfloat16):
        found = norm_relu(nn.BatchNorm2d(3), images.to(dtype))
        assert found[:, 2].isnan().all() and not found[:, :2].isnan().any()


@given(
    num=st.integers(2, 3000),
    columns=st.integers(1, 70),
    offset=st.sampled_from([0.0, 1.0, 1000.0]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_moments_are_those_of_float64(num: int, columns: int, offset: float, seed: int) -> None:
    images = values(1, columns, num, 1, seed=seed, offset=offset)
    mean, variance = measure(Rows.of(images))
    flat = images.double().permute(0, 2, 3, 1).reshape(num, columns)
    torch.testing.assert_close(mean, flat.mean(0), rtol=3e-6, atol=1e-6)
    torch.testing.assert_close(variance, flat.var(0, unbiased=False), rtol=1e-5, atol=1e-7 * max(1.0, offset**2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    block, images, weights = small_block(), values(4, 24, 40, 40), shares(4, 56, 40, 40)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            rows = Rows.of(images.to(dtype))
            found.append([*measure(rows)])
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                again = [pass_through(fused_block, block, images, weights) for _ in range(2)]
            assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for several in found for one, other in zip(found[0], several, strict=True))


def test_without_a_gradient_of_the_planes_nothing_behind_the_tap_gets_one() -> None:
    block, images = small_block(), values(2, 24, 6, 6)
    reference = copy.deepcopy(block)
    fused_block(block, images)[1].square().sum().backward()
    exact_block(reference, images)[1].square().sum().backward()
    assert {name for name, one in block.named_parameters() if one.grad is None} == {
        name for name, one in reference.named_parameters() if one.grad is None
    }
    for (name, ours), theirs in zip(block.named_parameters(), reference.parameters(), strict=True):
        assert ours.grad is None or distance(ours.grad, theirs.grad) < 1e-4, name


def unfit() -> list[tuple[str, Callable[[nn.Module], object], Tensor]]:
    def without_momentum(block: nn.Module) -> None:
        block.get_submodule("denselayer2.norm1").momentum = None  # type: ignore[assignment]

    return [
        ("a norm that is frozen", lambda block: block.get_submodule("denselayer2.norm2").eval(), values(2, 24, 4, 4)),
        ("a norm without momentum", without_momentum, values(2, 24, 4, 4)),
        ("float64", lambda block: block.double(), values(2, 24, 4, 4).double()),
        ("evaluation", lambda block: block.eval(), values(2, 24, 4, 4)),
    ]


@pytest.mark.parametrize(("what", "change", "images"), unfit(), ids=[one[0] for one in unfit()])
def test_what_does_not_fit_goes_the_plain_way(
    what: str, change: Callable[[nn.Module], object], images: Tensor
) -> None:
    block = small_block()
    change(block)
    reference = copy.deepcopy(block)
    planes, _ = dense_block(block, images)
    assert not planes.grad_fn.name().startswith("DenseBlock")  # type: ignore[union-attr]
    assert distance(planes, reference(images)) < 1e-6, what


def test_a_single_pixel_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        dense_block(small_block(), values(1, 24, 1, 1))


def test_training_takes_the_fused_way_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    block, images = small_block(), values(2, 24, 4, 4)
    assert dense_block(block, images)[0].grad_fn.name() == "DenseBlockBackward"  # type: ignore[union-attr]
    monkeypatch.setattr(dense.fused, "AVAILABLE", False)
    assert dense_block(block, images)[0].grad_fn.name() != "DenseBlockBackward"  # type: ignore[union-attr]
