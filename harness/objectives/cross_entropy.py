"""The cross-entropy: logits and targets with gaps come in; one float32 scalar goes out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.sources.labels import IGNORED


def masked_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over all entries that count; the first term of the paper's equation (1).

    ``logits`` (B, L) of any float type; ``targets`` (B, L) uint8: 0, 1, or 255 for an entry that does not count. No
    class weights. A batch in which no entry counts gives 0 with a gradient of 0. Float32 whatever autocast is on.

    Raises:
        ValueError: when the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits of shape {tuple(logits.shape)}, targets of shape {tuple(targets.shape)}")
    ignored = targets == IGNORED
    with torch.autocast(logits.device.type, enabled=False):
        # Masked before and after: an ignored entry adds nothing to the sum and nothing to the gradient.
        entries = F.binary_cross_entropy_with_logits(
            logits.float().masked_fill(ignored, 0.0), targets.float().masked_fill(ignored, 0.0), reduction="none"
        )
        num_counted = (~ignored).sum().clamp_min(1)
        mean: Tensor = entries.masked_fill(ignored, 0.0).sum() / num_counted
        return mean
