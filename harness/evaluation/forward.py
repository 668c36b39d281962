"""Forward pass of a batch without gradients: operation by operation, or as one CUDA graph that is kept for a run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.devices.cuda_graph import GraphMemory, record
from harness.networks import Network

Forward = Callable[[Tensor], Tensor]
"""Logits (B, L) of (B, 3, S, S) images by a network in eval mode; called under ``no_grad`` and autocast."""


class GraphedForward:
    """Runs batches of each size from a recording, made at the first one: an epoch has whole ones and its last.

    For CUDA. The recordings read the weights of the moment where they lie, so one object serves all validations of a
    run. Logits are those of the network to the bit.
    """

    def __init__(self, network: Network, memory: GraphMemory) -> None:
        self._network, self._memory = network, memory
        self._recordings: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """As ``Forward`` says.

        Raises:
            InputError: when recording fails.
        """
        if len(images) not in self._recordings:
            self._recordings[len(images)] = self._record(images)
        graph, inputs, logits = self._recordings[len(images)]
        inputs.copy_(images)
        graph.replay()
        return logits.clone()  # the next batch's are written to the same memory

    def _record(self, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        inputs = torch.empty_like(images).copy_(images)

        def forward() -> Tensor:
            # What autocast has cast already would be read from there for good, at the first validation's weights; and
            # Accelerate's wrapper of the forward pass has the cache on, whatever surrounds it.
            torch.clear_autocast_cache()
            logits: Tensor = self._network(inputs).logits
            torch.clear_autocast_cache()
            return logits

        graph, logits = record(forward, warm_up=forward, memory=self._memory, what="validation")
        return graph, inputs, logits
