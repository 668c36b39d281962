"""A training loop on image files as a careful user writes it by hand.

bfloat16 by autocast where the device has arithmetic for it, channels_last, fused Adam, no reading of losses, the
teacher in inference mode with a hook, and the careful OpenCV DataLoader on JPEG files that were made to size
beforehand. On a GPU the workers hand over gray bytes in page-locked memory, which are normalised there, and
torch.compile records CUDA graphs ("reduce-overhead").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.pictures import MEAN, STD, Pictures
from benchmarks.peers.opencv import Samples
from benchmarks.peers.pixels import normalise, read, start_worker
from benchmarks.step.baseline import BaselineNetwork, attention_loss, stream
from benchmarks.step.case import Case
from benchmarks.step.cycles import Cycles
from benchmarks.step.device import VALIDATION_BATCHES, mixed_dtype, settled


class Unaugmented(Samples):
    """JPEG files as validation takes them: (3, S, S) float32, or (1, S, S) uint8."""

    def __getitem__(self, index: int) -> Tensor:
        gray = cv2.imdecode(read(self.paths[index]), cv2.IMREAD_GRAYSCALE)
        assert gray is not None, "the benchmark wrote these files itself"
        if not self.floats:
            return torch.from_numpy(gray)[None]
        out = np.empty((3, self.size, self.size), dtype=np.float32)
        normalise(gray, out)
        return torch.from_numpy(out)


class Careful:
    """One network and method in the careful loop; ``compiled`` puts torch.compile around the student."""

    def __init__(self, case: Case, pictures: Pictures, device: torch.device, *, compiled: bool = False) -> None:
        self.case, self.pictures, self.device = case, pictures, device
        self.on_gpu = device.type == "cuda"
        self.mean, self.std = (255 * torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.network: Any = BaselineNetwork(case.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = None
        if case.method == "attention_transfer":
            teacher: Any = BaselineNetwork("densenet121").eval().requires_grad_(False)
            self.teacher = teacher.to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-5, fused=True)
        mode = "reduce-overhead" if self.on_gpu else "default"
        self.forward = torch.compile(self._logits_and_planes, mode=mode) if compiled else self._logits_and_planes
        self.fixed = next(self.training)
        if (
            case.validates and not compiled
        ):  # its workers are forked here, where they do not inherit the memory of a step
            next(self.validating)

    @cached_property
    def training(self) -> Iterator[Any]:
        """Augmented training batches without end."""
        images = Samples(self.pictures.jpeg, self.pictures.size, floats=not self.on_gpu)
        return self._stream(images, self.pictures.batch_size)

    @cached_property
    def validating(self) -> Iterator[Any]:
        """Batches without augmentation."""
        images = Unaugmented(self.pictures.jpeg, self.pictures.size, floats=not self.on_gpu)
        return self._stream(images, VALIDATION_BATCHES[self.device.type])

    def _stream(self, images: Samples, batch_size: int) -> Iterator[Any]:
        more = {"worker_init_fn": start_worker, "pin_memory": self.on_gpu}
        return stream(images, len(images), batch_size, self.pictures.workers, **more)

    def _autocast(self) -> torch.autocast:
        dtype = mixed_dtype(self.device)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32)

    def _inputs(self, images: Tensor) -> Tensor:
        """Network input on the device."""
        if self.on_gpu:
            images = (images.to(self.device, non_blocking=True).float() - self.mean) / self.std
        return images.to(memory_format=torch.channels_last)

    def step(self, images: Tensor, targets: Tensor) -> None:
        self.network.train()
        images, targets = self._inputs(images), targets.to(self.device, non_blocking=True)
        with self._autocast():
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
        started = settled(self.device)
        for _ in range(steps):
            self.step(*self.fixed)
        return {"seconds": settled(self.device) - started, "images": steps * self.pictures.batch_size}

    def whole(self, steps: int) -> dict[str, float]:
        cycles = Cycles(self.training, steps, settled=partial(settled, self.device))
        for images, targets in cycles:
            self.step(images, targets)
        return {"seconds": cycles.seconds, "images": steps * self.pictures.batch_size, "data_wait_s": cycles.waited_s}

    def validation(self, steps: int) -> dict[str, float]:
        self.network.eval()
        found = []
        cycles = Cycles(self.validating, steps, settled=partial(settled, self.device))
        with torch.inference_mode(), self._autocast():
            for images, _ in cycles:
                found.append(self.network(self._inputs(images)).float())
        count = steps * VALIDATION_BATCHES[self.device.type]
        assert len(torch.cat(found)) == count
        return {"seconds": cycles.seconds, "images": count, "data_wait_s": cycles.waited_s}

    def _logits_and_planes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        return logits, self.network.planes
