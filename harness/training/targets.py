"""Targets of training as a config's ``[loss]`` table has them: uncertain labels, smoothing, mixup, positive weights.

Soft targets are float32 in 0..1, with 255 for an entry that does not count, as in the uint8 ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datasets.augment.counter_rng import Purpose, sample_words, stream_key, uniform
from datasets.beton.reader import Beton
from datasets.loading.balance import samples_of
from datasets.loading.prefetch import DeviceBatch
from datasets.sources.labels import IGNORED
from harness.config import LossOptions


def soft_targets(loss: LossOptions, beton: Beton) -> np.ndarray:
    """(N, L) float32 targets of all samples after the policy for uncertain labels and smoothing."""
    targets = beton.targets.astype(np.float32)
    values = {"zero": 0.0, "one": 1.0, "ignore": float(IGNORED), "smoothed": loss.uncertain_target}
    for column, label in enumerate(beton.labels):
        policy = loss.uncertain.get(label) if isinstance(loss.uncertain, dict) else loss.uncertain
        if policy is not None:
            targets[beton.uncertain[:, column], column] = values[policy]
    hard = (targets == 0.0) | (targets == 1.0)
    targets[hard] = targets[hard] * (1.0 - loss.label_smoothing) + loss.label_smoothing / 2
    return targets


def positive_weights(loss: LossOptions, beton: Beton, train: np.ndarray) -> np.ndarray | None:
    """(L,) float32 weights of positives, as given or from the ``train`` (n,) images; None for 1 throughout.

    A label without positives, or without negatives, has weight 1.
    """
    if loss.positive_weights is None:
        return None
    if isinstance(loss.positive_weights, dict):
        return np.array([loss.positive_weights.get(label, 1.0) for label in beton.labels], dtype=np.float32)
    targets = soft_targets(loss, beton)[train].astype(np.float64)
    known = targets != IGNORED
    positives, negatives = (np.where(known, part, 0.0).sum(axis=0) for part in (targets, 1.0 - targets))
    both = (positives > 0.0) & (negatives > 0.0)
    weights = np.ones(len(both), dtype=np.float32)
    weights[both] = negatives[both] / positives[both]
    return weights


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchPreparation:
    """Makes of a batch what a training step sees; without options the batch's own inputs and targets."""

    table: Tensor | None = None
    """(N, L) float32 soft targets of all samples, on the device; None for the batch's own."""
    mixup: float = 0.0
    """Of Beta(mixup, mixup)."""
    seed: int = 0
    batch_size: int = 0
    """Images of a whole batch over all processes; a last ragged one is not mixed."""

    def __call__(self, batch: DeviceBatch, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, 3, S, S) and targets (B, L) of this process's part of a step."""
        targets = batch.targets if self.table is None else self.table[samples_of(batch.indices)]
        if self.mixup == 0.0:
            return batch.inputs, targets
        targets = targets.float()
        if batch.global_size != self.batch_size:
            return batch.inputs, targets
        shares = torch.from_numpy(mixup_shares(self.mixup, self.seed, epoch, batch.host.indices.numpy()))
        if batch.inputs.is_cuda:  # from page-locked memory the host does not wait for the copy
            shares = shares.pin_memory().to(batch.inputs.device, non_blocking=True)
        return mixed_inputs(batch.inputs, shares), mixed_targets(targets, shares)


def mixup_shares(alpha: float, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """(B,) float32 share, at least 1/2, that each image keeps of itself; (B,) ``indices``, whose pairs share one.

    A pair's share is a function of seed, epoch and its first image. Below 1/2 the two images would merely swap.
    """
    from scipy.special import betaincinv

    drawn = uniform(sample_words(stream_key(seed, epoch, Purpose.MIXUP), indices[::2]))
    shares = betaincinv(alpha, alpha, drawn)
    return np.repeat(np.maximum(shares, 1.0 - shares), 2).astype(np.float32)


def _neighbours(values: Tensor) -> Tensor:
    """Each pair of rows swapped."""
    return values.view(-1, 2, *values.shape[1:]).flip(1).flatten(0, 1)


def mixed_inputs(inputs: Tensor, shares: Tensor) -> Tensor:
    """Images (B, 3, S, S), B even, each mixed with its neighbour, of which it takes 1 - ``shares`` (B,)."""
    mixed = torch.lerp(_neighbours(inputs), inputs, shares.view(-1, 1, 1, 1))
    return mixed.contiguous(memory_format=torch.channels_last)


def mixed_targets(targets: Tensor, shares: Tensor) -> Tensor:
    """Targets (B, L) float32 mixed as their images; what either of the two does not know does not count."""
    others = _neighbours(targets)
    mixed = torch.lerp(others, targets, shares.view(-1, 1))
    return mixed.masked_fill((targets == IGNORED) | (others == IGNORED), float(IGNORED))
