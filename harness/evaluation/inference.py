"""Predict every sample of a loader once, over all processes.

Each process predicts its share; nothing is padded, so nothing has to be cut off again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn

from datasets.loading.batch import Batch, Loader
from datasets.loading.prefetch import DevicePrefetcher
from harness.devices.accelerator import Accelerator, set_torch_threads
from harness.evaluation.forward import Forward
from harness.networks import Network
from harness.runs.runtime import RuntimeConfig


@dataclass(frozen=True)
class Predictions:
    """Logits and targets of N samples, in ascending order of their index in the beton."""

    indices: np.ndarray
    """(N,) int64."""
    logits: np.ndarray
    """(N, L) float32."""
    targets: np.ndarray
    """(N, L) uint8; 255 is ignored."""


@dataclass
class Rows:
    """Collects what batches yield on this process, without waiting for the device."""

    num_labels: int
    num_targets: int | None = None
    """Of a beton whose labels are others than the network's."""
    _batches: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Keep one batch's (B, L) logits beside copies of its indices and targets.

        Those of the batch may lie in page-locked memory, which the next ones are to use again: a device stands still
        while more is locked.
        """
        self._batches.append((batch.indices.clone(), logits.detach().float(), batch.targets.clone()))

    def gathered(self, accelerator: Accelerator) -> Predictions:
        """All rows of all processes, the same on each of them; a collective call.

        Raises:
            RuntimeError: when a sample came twice.
        """
        no_logits = torch.empty((0, self.num_labels), device=accelerator.device)
        no_targets = torch.empty((0, self.num_targets or self.num_labels), dtype=torch.uint8)
        empty = (torch.empty(0, dtype=torch.int64), no_logits, no_targets)
        parts = zip(empty, *self._batches, strict=True)
        found, logits, targets = (gather_rows(torch.cat(part)).numpy() for part in parts)
        order = np.argsort(found, kind="stable")
        if (np.diff(found[order]) == 0).any():
            raise RuntimeError(f"{len(found) - len(np.unique(found)):,} samples were predicted twice")
        return Predictions(found[order], logits[order], targets[order])


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes one after another, on the CPU; their numbers may differ. A collective call."""
    return torch.cat(gather_object([rows.cpu()]))


def predict(
    accelerator: Accelerator,
    network: Network,
    loader: Loader,
    expected: np.ndarray,
    runtime: RuntimeConfig,
    *,
    num_targets: int | None = None,
    forward: Forward | None = None,
) -> Predictions:
    """Logits of every sample in ``expected`` (ascending indices); the network is left in eval mode.

    ``num_targets`` is the number of the beton's labels where it may be another than that of the network's.

    ``forward`` runs the network's forward pass, if not the network itself.

    ``network`` is the plain module, not DistributedDataParallel's wrapper: shares differ in their number of batches,
    and the wrapper would wait in its forward for the others.

    Raises:
        RuntimeError: when the samples predicted are not exactly the expected ones.
    """
    network.eval()
    same_statistics(network, accelerator)
    rows = Rows(network.classifier.out_features, num_targets)
    # Under inference_mode, autocast would cast the weights anew for each batch.
    with torch.no_grad(), DevicePrefetcher(loader, accelerator.device).epoch(0) as batches:
        set_torch_threads(runtime)
        with accelerator.autocast():
            for batch in batches:
                rows.add(batch.host, forward(batch.inputs) if forward else network(batch.inputs).logits)
        predictions = rows.gathered(accelerator)
    if not np.array_equal(predictions.indices, expected):
        raise RuntimeError(f"{len(predictions.indices):,} samples were predicted; expected {len(expected):,}")
    return predictions


def same_statistics(network: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the batch norm statistics of the first one, which files hold; a collective call."""
    if accelerator.num_processes > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
