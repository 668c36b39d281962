"""Targets of training: exact values of each option, and the laws of mixup and of positive weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datasets.beton.reader import Beton
from datasets.errors import InputError
from harness.config import LossOptions
from harness.objectives import masked_cross_entropy
from harness.training.preflight import check_loss
from harness.training.targets import (
    BatchPreparation,
    mixed_inputs,
    mixed_targets,
    mixup_shares,
    positive_weights,
    soft_targets,
)

LAWS = settings(deadline=None, max_examples=40)


@dataclass
class Labels:
    """What of a beton is read here."""

    targets: np.ndarray
    uncertain: np.ndarray
    labels: tuple[str, ...] = ("Edema", "Fracture")
    path: Path = Path("x.beton")


def labels(*rows: tuple[int, int], uncertain: tuple[tuple[int, int], ...] = ()) -> Any:
    targets = np.array(rows, dtype=np.uint8)
    marks = np.zeros(targets.shape, dtype=bool)
    for place in uncertain:
        marks[place] = True
    return Labels(targets, marks)


ROWS = labels((0, 1), (1, 0), (0, 255), (0, 1), uncertain=((0, 0), (1, 1), (2, 0)))


def test_a_policy_decides_uncertain_labels_and_leaves_the_others() -> None:
    for policy, value in (("zero", 0.0), ("one", 1.0), ("ignore", 255.0), ("smoothed", 0.7)):
        found = soft_targets(LossOptions(uncertain=policy), ROWS)  # type: ignore[arg-type]
        assert found.tolist() == pytest.approx(np.float32([[value, 1], [1, value], [value, 255], [0, 1]]))
    found = soft_targets(LossOptions(uncertain={"Edema": "smoothed"}, uncertain_target=0.25), ROWS)
    assert found.tolist() == [[0.25, 1], [1, 0], [0.25, 255], [0, 1]]


def test_smoothing_moves_hard_targets_alone() -> None:
    loss = LossOptions(label_smoothing=0.5, uncertain={"Edema": "smoothed", "Fracture": "one"})
    assert soft_targets(loss, ROWS).tolist() == pytest.approx(
        np.float32([[0.7, 0.75], [0.75, 0.75], [0.7, 255], [0.25, 0.75]])
    )


def test_weights_from_prevalence_are_negatives_over_positives_of_the_training_images() -> None:
    loss = LossOptions(positive_weights="prevalence")
    assert positive_weights(loss, ROWS, np.arange(4)).tolist() == [3.0, 0.5]  # type: ignore[union-attr]
    assert positive_weights(loss, ROWS, np.array([0, 2, 3])).tolist() == [1.0, 1.0]  # type: ignore[union-attr]
    assert positive_weights(LossOptions(positive_weights={"Fracture": 9.0}), ROWS, np.arange(4)).tolist() == [
        1.0,
        9.0,
    ]  # type: ignore[union-attr]
    assert positive_weights(LossOptions(), ROWS, np.arange(4)) is None


@LAWS
@given(st.integers(1, 40), st.integers(0, 2**32))
def test_prevalence_weights_give_positives_and_negatives_equal_parts(count: int, seed: int) -> None:
    """At logit 0 the gradient of a label's weighted cross-entropy vanishes: sum of w y (1 - p) = sum of (1 - y) p."""
    targets = np.random.default_rng(seed).choice([0, 1, 255], (count, 2), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    weights = positive_weights(
        LossOptions(positive_weights="prevalence"), labels(*map(tuple, targets)), np.arange(count)
    )
    assert weights is not None
    logits = torch.zeros(count, 2, requires_grad=True)
    masked_cross_entropy(logits, torch.from_numpy(targets), torch.from_numpy(weights)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    both = ((targets == 0).any(axis=0) & (targets == 1).any(axis=0)).tolist()
    for gradient, balanced in zip(logits.grad.sum(0).tolist(), both, strict=True):
        assert not balanced or gradient == pytest.approx(0.0, abs=1e-6)


@LAWS
@given(st.integers(0, 2**32), st.floats(0.1, 50.0))
def test_weighted_cross_entropy_is_torchs_and_counts_known_entries(seed: int, weight: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, targets = 4 * torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator)
    targets[0, 0] = 255.0
    weights = torch.tensor([weight, 1.0, 2.0])
    kept = targets != 255.0
    entries = -(weights * targets * logits.sigmoid().log() + (1 - targets) * (-logits).sigmoid().log())
    torch.testing.assert_close(
        masked_cross_entropy(logits, targets, weights), entries[kept].mean(), rtol=1e-4, atol=1e-5
    )


@LAWS
@given(st.floats(0.05, 5.0), st.integers(0, 2**40), st.integers(0, 99), st.integers(1, 8))
def test_a_pairs_share_depends_on_seed_epoch_and_its_first_image_alone(
    alpha: float, seed: int, epoch: int, pairs: int
) -> None:
    indices = np.random.default_rng(seed).permutation(1000)[: 2 * pairs]
    shares = mixup_shares(alpha, seed, epoch, indices)
    assert shares.shape == (2 * pairs,) and (shares[::2] == shares[1::2]).all()
    assert (shares >= 0.5).all() and (shares <= 1.0).all()
    parts = [mixup_shares(alpha, seed, epoch, indices[first : first + 2]) for first in range(0, 2 * pairs, 2)]
    assert np.array_equal(np.concatenate(parts), shares)
    if alpha >= 0.2:
        assert not np.array_equal(mixup_shares(alpha, seed, epoch + 1, indices), shares)


def test_shares_follow_the_folded_beta_distribution() -> None:
    shares = mixup_shares(1.0, 0, 0, np.arange(40_000))[::2]
    assert [np.quantile(shares, q) for q in (0.25, 0.5, 0.75)] == pytest.approx([0.625, 0.75, 0.875], abs=0.01)


@LAWS
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_mixing_keeps_the_sums_of_a_pair_and_hides_what_one_does_not_know(pairs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2 * pairs, 3, 4, 4, generator=generator).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 2, (2 * pairs, 2), generator=generator).float()
    targets[0, 1] = 255.0
    shares = (0.5 + 0.5 * torch.rand(pairs, generator=generator)).repeat_interleave(2)
    mixed, soft = mixed_inputs(inputs, shares), mixed_targets(targets, shares)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mixed[::2] + mixed[1::2], inputs[::2] + inputs[1::2])
    torch.testing.assert_close(mixed[0], shares[0] * inputs[0] + (1 - shares[0]) * inputs[1])
    assert soft[:2, 1].tolist() == [255.0, 255.0]
    torch.testing.assert_close(soft[:, 0].view(-1, 2).sum(1), targets[:, 0].view(-1, 2).sum(1))
    same = mixed_inputs(inputs, torch.ones(2 * pairs)), mixed_targets(targets[:, :1], torch.ones(2 * pairs))
    assert torch.equal(same[0], inputs) and torch.equal(same[1], targets[:, :1])


def batch(size: int) -> Any:
    indices = torch.arange(size)
    host = SimpleNamespace(indices=indices)
    targets = torch.zeros(size, 2, dtype=torch.uint8)
    return SimpleNamespace(
        inputs=torch.randn(size, 3, 4, 4), targets=targets, indices=indices, host=host, global_size=size
    )


def test_without_options_a_step_sees_the_batch_itself() -> None:
    given = batch(4)
    inputs, targets = BatchPreparation()(given, 0)
    assert inputs is given.inputs and targets is given.targets


def test_a_ragged_last_batch_is_not_mixed_and_its_targets_have_the_type_of_the_others() -> None:
    prepare = BatchPreparation(mixup=1.0, batch_size=4, table=torch.arange(8.0).view(4, 2) / 8)
    whole, ragged = batch(4), batch(2)
    assert not torch.equal(prepare(whole, 0)[0], whole.inputs)
    inputs, targets = prepare(ragged, 0)
    assert inputs is ragged.inputs and targets.tolist() == [[0.0, 0.125], [0.25, 0.375]]
    hard: Tensor = BatchPreparation(mixup=1.0, batch_size=4)(ragged, 0)[1]
    assert hard.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (LossOptions(positive_weights={"Edma": 2.0}), "unknown label 'Edma'; labels of x.beton: Edema, Fracture"),
        (LossOptions(uncertain={"Edma": "one"}), "loss.uncertain: unknown label 'Edma'"),
        (LossOptions(uncertain="one"), r"x.beton: loss.uncertain is set, but no label is marked .* --overwrite"),
    ],
)
def test_options_that_the_beton_cannot_serve_are_refused_in_one_line(loss: LossOptions, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_loss(loss, labels((0, 1)))
    assert "\n" not in str(caught.value)


def test_a_beton_keeps_where_its_tables_are_uncertain(tiny_beton: Path) -> None:
    beton = Beton.open(tiny_beton)
    order = beton.samples["path"].str.removesuffix(".png").astype(int).to_numpy()
    assert np.array_equal(beton.uncertain, order[:, None] % 5 == np.arange(3))
