"""A training loop as a careful user writes it by hand: image files come in; trained steps go out.

bfloat16 by autocast, channels_last, fused Adam, no reading of losses, the teacher in inference mode with a hook, and
the careful OpenCV DataLoader on JPEG files that were made to size beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.peers.opencv import Samples
from benchmarks.peers.pixels import start_worker
from benchmarks.pictures import Pictures
from benchmarks.step_case import Case
from benchmarks.step_reference import Labelled, PlainNetwork, attention_loss

VALIDATION_BATCH = 64


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
        self.fixed = next(self.batches(1, pictures.batch_size))

    def batches(self, steps: int, batch_size: int) -> Iterator[Any]:
        """``steps`` training batches' worth of images in batches of ``batch_size``."""
        count = steps * self.pictures.batch_size
        files = [self.pictures.jpeg[number % len(self.pictures.jpeg)] for number in range(count)]
        dataset = Labelled(Samples(files, self.pictures.size, floats=True), count)
        workers = self.pictures.workers
        return iter(DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, worker_init_fn=start_worker))

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
        started, waited, images = time.perf_counter(), 0.0, 0
        batches, asked = self.batches(steps, self.pictures.batch_size), started
        for batch, targets in batches:
            waited += time.perf_counter() - asked
            self.step(batch, targets)
            images += len(batch)
            asked = time.perf_counter()
        return {"seconds": time.perf_counter() - started, "images": images, "data_wait_s": waited}

    def validation(self, steps: int) -> dict[str, float]:
        started, images = time.perf_counter(), 0
        self.network.eval()
        found = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for batch, _ in self.batches(steps, VALIDATION_BATCH):
                found.append(self.network(batch.to(memory_format=torch.channels_last)).float())
                images += len(batch)
        assert len(torch.cat(found)) == images
        return {"seconds": time.perf_counter() - started, "images": images}

    def _logits_and_planes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        return logits, self.network.planes
