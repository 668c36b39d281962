"""A training loop as a careful user writes it by hand: image files come in; trained steps go out.

bfloat16 by autocast, channels_last, fused Adam, no reading of losses, the teacher in inference mode with a hook, and
the careful OpenCV DataLoader on JPEG files that were made to size beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.opencv import Samples
from benchmarks.peers.pixels import normalise, read, start_worker
from benchmarks.pictures import Pictures
from benchmarks.step_case import VALIDATION_BATCH, Case
from benchmarks.step_cycles import Cycles
from benchmarks.step_reference import PlainNetwork, attention_loss, stream


class Unaugmented(Samples):
    """JPEG files as validation takes them: (3, S, S) float32."""

    def __getitem__(self, index: int) -> Tensor:
        out = np.empty((3, self.size, self.size), dtype=np.float32)
        gray = cv2.imdecode(read(self.paths[index]), cv2.IMREAD_GRAYSCALE)
        assert gray is not None, "the benchmark wrote these files itself"
        normalise(gray, out)
        return torch.from_numpy(out)


class Careful:
    """One network and method in the careful loop; ``compiled`` puts torch.compile around the student."""

    def __init__(self, case: Case, pictures: Pictures, *, compiled: bool = False) -> None:
        self.case, self.pictures = case, pictures
        self.network: Any = PlainNetwork(case.network).to(memory_format=torch.channels_last)
        self.teacher = None
        if case.method == "attention_transfer":
            teacher: Any = PlainNetwork("densenet121").eval().requires_grad_(False)
            self.teacher = teacher.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-5, fused=True)
        self.forward = torch.compile(self._logits_and_planes) if compiled else self._logits_and_planes
        self.fixed = next(self.training)
        if (
            case.validates and not compiled
        ):  # its workers are forked here, where they do not inherit the memory of a step
            next(self.validating)

    @cached_property
    def training(self) -> Iterator[Any]:
        """Augmented training batches without end."""
        return self._stream(Samples(self.pictures.jpeg, self.pictures.size, floats=True), self.pictures.batch_size)

    @cached_property
    def validating(self) -> Iterator[Any]:
        """Batches without augmentation."""
        return self._stream(Unaugmented(self.pictures.jpeg, self.pictures.size, floats=True), VALIDATION_BATCH)

    def _stream(self, images: Samples, batch_size: int) -> Iterator[Any]:
        return stream(images, len(images), batch_size, self.pictures.workers, worker_init_fn=start_worker)

    def step(self, images: Tensor, targets: Tensor) -> None:
        self.network.train()
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits, planes = self.forward(images)
            loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
            if self.teacher is not None:
                with torch.inference_mode():
                    self.teacher(images)
                loss = loss + attention_loss(planes.float(), self.teacher.planes.clone().float())
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def loader_free(self, steps: int) -> dict[str, float]:
        started = time.perf_counter()
        for _ in range(steps):
            self.step(*self.fixed)
        return {"seconds": time.perf_counter() - started, "images": steps * self.pictures.batch_size}

    def whole(self, steps: int) -> dict[str, float]:
        cycles = Cycles(self.training, steps)
        for images, targets in cycles:
            self.step(images, targets)
        return {"seconds": cycles.seconds, "images": steps * self.pictures.batch_size, "data_wait_s": cycles.waited_s}

    def validation(self, steps: int) -> dict[str, float]:
        self.network.eval()
        found = []
        cycles = Cycles(self.validating, steps)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for images, _ in cycles:
                found.append(self.network(images.to(memory_format=torch.channels_last)).float())
        assert len(torch.cat(found)) == steps * VALIDATION_BATCH
        return {"seconds": cycles.seconds, "images": steps * VALIDATION_BATCH, "data_wait_s": cycles.waited_s}

    def _logits_and_planes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        return logits, self.network.planes
