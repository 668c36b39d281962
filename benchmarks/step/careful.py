"""A training loop on image files as a careful user writes it by hand.

bfloat16 by autocast where the device has arithmetic for it, channels_last, fused Adam, no reading of losses, the
teacher in inference mode with a hook (compiled too, where the student is), and the careful OpenCV DataLoader on JPEG
files that were made to size beforehand. On a GPU the workers hand over gray bytes in page-locked memory, which are
normalised there, and torch.compile records CUDA graphs ("reduce-overhead").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.pictures import MEAN, STD, Pictures
from benchmarks.common.pixels import normalise, read, start_worker
from benchmarks.peers.opencv import Output, sample_of
from benchmarks.step.baseline import BaselineNetwork, HandWrittenLoop, attention_loss
from benchmarks.step.case import VALIDATION_BATCHES, Case
from benchmarks.step.cycles import precision_on
from harness.devices.precision import set_cuda_arithmetic
from harness.runs.runtime import Precision


def unaugmented(output: Output, path: str) -> Tensor:
    """A JPEG file as validation takes it: (3, S, S) float32, or (1, S, S) uint8."""
    gray = cv2.imdecode(read(path), cv2.IMREAD_GRAYSCALE)
    assert gray is not None, "the benchmark wrote these files itself"
    if output == "uint8":
        return torch.from_numpy(gray)[None]
    out = np.empty((3, *gray.shape), dtype=np.float32)
    normalise(gray, out)
    return torch.from_numpy(out)


class Careful(HandWrittenLoop):
    """One network and method in the careful loop; ``compiled`` puts torch.compile around student and teacher."""

    def __init__(
        self,
        case: Case,
        pictures: Pictures,
        device: torch.device,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
    ) -> None:
        super().__init__(pictures, device)
        self.precision = precision_on(device, precision)
        self.on_gpu = device.type == "cuda"
        self.validation_batch = VALIDATION_BATCHES[device.type]
        self.mean, self.std = (255 * torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.network: Any = BaselineNetwork(case.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher: Any = None
        if case.method == "attention_transfer":
            teacher: Any = BaselineNetwork("densenet121").eval().requires_grad_(False)
            self.teacher = teacher.to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-5, fused=True)
        mode = "reduce-overhead" if self.on_gpu else "default"
        self.forward, self.teach = self._logits_and_planes, self._teacher_planes
        # CUDA graphs of torch.compile keep no tensors that were made in inference mode.
        self.without_gradients: Any = torch.no_grad if compiled else torch.inference_mode
        if compiled:
            self.forward = torch.compile(self.forward, mode=mode)
            self.teach = torch.compile(self.teach, mode=mode)
        if self.on_gpu:
            set_cuda_arithmetic(self.precision)
        output: Output = "uint8" if self.on_gpu else "float32"
        stream = partial(self.stream, pictures.jpeg, worker_init_fn=start_worker, pin_memory=self.on_gpu)
        validating = partial(stream, partial(unaugmented, output), self.validation_batch)
        training = stream(sample_of(output, pictures), pictures.batch_size)
        self.start_loaders(training, validating if case.validates and not compiled else None)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _inputs(self, images: Tensor) -> Tensor:
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
                with self.without_gradients():
                    theirs = self.teach(images)
                loss = loss + attention_loss(planes.float(), theirs.clone().float())
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def validate(self, batches: Iterator[Any]) -> None:
        with torch.inference_mode(), self._autocast():
            torch.cat([self.network(self._inputs(images)).float() for images, _ in batches])

    def _logits_and_planes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        return logits, self.network.planes

    def _teacher_planes(self, images: Tensor) -> Tensor:
        self.teacher(images)
        planes: Tensor = self.teacher.planes
        return planes
