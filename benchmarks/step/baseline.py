"""The baseline: a training loop on image files as the public code for this paper's experiments has it.

Written as the code of the paper's reference [23] is: float32, PyTorch's DataLoader with Pillow on the original files,
sigmoid and BCELoss, the teacher's whole forward pass, plain Adam, and the loss read at every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet, densenet121

from benchmarks.common.data_loader import Files, endless_batches, loader_of
from benchmarks.common.pictures import Pictures
from benchmarks.peers.torch_files import pillow_image
from benchmarks.step.case import NUM_LABELS, Case
from benchmarks.step.cycles import cycles_on, settled


class BaselineNetwork(nn.Module):
    """DenseNet-121, or the paper's Table 4, made of torchvision's parts; the tapped planes are kept by a hook."""

    planes: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        if name == "densenet121":
            self.body: nn.Module = densenet121(num_classes=NUM_LABELS)
            tap = self.body.get_submodule("features.denseblock4.denselayer15")
        else:
            features = DenseNet(block_config=(6, 12), num_classes=1).features
            del features.norm5
            tap = nn.Conv2d(512, 32, 1)
            head = (nn.Conv2d(32, 1024, 1), nn.BatchNorm2d(1024), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
            self.body = nn.Sequential(
                features, nn.AvgPool2d(4), tap, *head, nn.Flatten(), nn.Linear(1024, NUM_LABELS)
            )
        tap.register_forward_hook(self._keep)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images)
        return logits

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.planes = output


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The paper's equation (2)."""
    ours, theirs = (F.normalize(planes.flatten(2), dim=2) for planes in (student, teacher))
    distances: Tensor = torch.linalg.vector_norm(ours - theirs, dim=2)
    return distances.mean()


class Labelled(Files):
    """Images with made-up targets (14,) float32, the same in every loop."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return super().__getitem__(index), ((index >> torch.arange(NUM_LABELS)) & 1).float()


class HandWrittenLoop(ABC):
    """A loop over PyTorch's DataLoader on image files, and its measurements."""

    network: Any

    def __init__(self, pictures: Pictures, device: torch.device) -> None:
        self.pictures, self.device = pictures, device
        self.validation_batch = pictures.batch_size

    def start_loaders(self, training: Iterator[Any], validating: Callable[[], Iterator[Any]] | None) -> None:
        """Take a first batch of each, so that workers are forked before they inherit the memory of a step."""
        self.training = training
        self.fixed = next(training)
        if validating is not None:
            self.validating = validating()
            next(self.validating)

    def stream(
        self, paths: Sequence[str], load: Callable[[str], Tensor], batch_size: int, **more: Any
    ) -> Iterator[Any]:
        """Batches without end, from workers that stay: the DataLoader in the middle of a very long epoch."""
        batches = endless_batches(len(paths), batch_size)
        return iter(loader_of(Labelled(paths, load), self.pictures, batch_sampler=batches, **more))

    @abstractmethod
    def step(self, images: Tensor, targets: Tensor) -> None:
        """Train on one batch."""

    @abstractmethod
    def validate(self, batches: Iterator[Any]) -> None:
        """Score batches."""

    def loader_free(self, steps: int) -> dict[str, float]:
        started = settled(self.device)
        for _ in range(steps):
            self.step(*self.fixed)
        return {"seconds": settled(self.device) - started, "images": steps * self.pictures.batch_size}

    def whole(self, steps: int) -> dict[str, float]:
        cycles = cycles_on(self.device, self.training, steps)
        for images, targets in cycles:
            self.step(images, targets)
        return cycles.measured(steps * self.pictures.batch_size)

    def validation(self, steps: int) -> dict[str, float]:
        self.network.eval()
        cycles = cycles_on(self.device, self.validating, steps)
        self.validate(cycles)
        return cycles.measured(steps * self.validation_batch)


class Baseline(HandWrittenLoop):
    """One network and method in the baseline loop."""

    def __init__(self, case: Case, pictures: Pictures, device: torch.device) -> None:
        super().__init__(pictures, device)
        self.network: BaselineNetwork = BaselineNetwork(case.network).to(device)
        self.teacher: BaselineNetwork | None = None
        if case.method == "attention_transfer":
            self.teacher = BaselineNetwork("densenet121").to(device).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-5)
        self.criterion = nn.BCELoss()
        self.losses: list[float] = []
        self.start_loaders(self._files(augment=True), self._files if case.validates else None)

    def _files(self, *, augment: bool = False) -> Iterator[Any]:
        """Batches of the original files, made smaller on the way."""
        pictures = self.pictures
        return self.stream(pictures.png, pillow_image(pictures, fit=True, augment=augment), pictures.batch_size)

    def step(self, images: Tensor, targets: Tensor) -> None:
        self.network.train()
        images, targets = images.to(self.device), targets.to(self.device)
        self.optimizer.zero_grad()
        outputs = torch.sigmoid(self.network(images))
        loss = self.criterion(outputs, targets)
        if self.teacher is not None:
            with torch.no_grad():
                self.teacher(images)
            loss = loss + attention_loss(self.network.planes, self.teacher.planes)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())

    def validate(self, batches: Iterator[Any]) -> None:
        with torch.no_grad():
            for images, targets in batches:
                outputs = torch.sigmoid(self.network(images.to(self.device)))
                self.losses.append(self.criterion(outputs, targets.to(self.device)).item())
