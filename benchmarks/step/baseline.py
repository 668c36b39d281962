"""The baseline: a training loop on image files as the public code for this paper's experiments has it.

Written as the code of the paper's reference [23] is: float32, PyTorch's DataLoader with Pillow on the original files,
sigmoid and BCELoss, the teacher's whole forward pass, plain Adam, and the loss read at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import DenseNet, densenet121

from benchmarks.common.pictures import MEAN, STD, Pictures
from benchmarks.peers.data_loader import EndlessBatches
from benchmarks.peers.torch_pil import Files
from benchmarks.step.case import NUM_LABELS, Case, targets_of
from benchmarks.step.cycles import Cycles
from benchmarks.step.device import settled


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


class Labelled(Dataset[tuple[Tensor, Tensor]]):
    """Images of another dataset with made-up targets."""

    def __init__(self, images: Dataset[Tensor], count: int) -> None:
        self.images, self.count = images, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], targets_of(index).float()


class Unaugmented(Files):
    """Image files as validation takes them."""

    def __init__(self, paths: list[str], size: int) -> None:
        super().__init__(paths, size, resize=True)
        fit = [transforms.Resize(size), transforms.CenterCrop(size), transforms.Grayscale(3)]
        self.transform = transforms.Compose([*fit, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def stream(images: Dataset[Tensor], count: int, batch_size: int, workers: int, **more: Any) -> Iterator[Any]:
    """Batches without end, from workers that stay: PyTorch's DataLoader in the middle of a very long epoch."""
    sampler = EndlessBatches(count, batch_size)
    dataset = Labelled(images, count)
    return iter(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, persistent_workers=True, **more))


class Baseline:
    """One network and method in the baseline loop."""

    def __init__(self, case: Case, pictures: Pictures, device: torch.device) -> None:
        self.case, self.pictures, self.device = case, pictures, device
        self.network = BaselineNetwork(case.network).to(device)
        self.teacher = None
        if case.method == "attention_transfer":
            self.teacher = BaselineNetwork("densenet121").to(device).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-5)
        self.criterion = nn.BCELoss()
        self.losses: list[float] = []
        self.fixed = next(self.training)
        if case.validates:  # its workers are forked before they inherit the memory of a step
            next(self.validating)

    @cached_property
    def training(self) -> Iterator[Any]:
        """Batches of the original files, made smaller and augmented on the way."""
        return self._stream(Files(self.pictures.png, self.pictures.size, resize=True))

    @cached_property
    def validating(self) -> Iterator[Any]:
        """The same without augmentation."""
        return self._stream(Unaugmented(list(self.pictures.png), self.pictures.size))

    def _stream(self, files: Files) -> Iterator[Any]:
        return stream(files, len(self.pictures.png), self.pictures.batch_size, self.pictures.workers)

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
        cycles = Cycles(self.validating, steps, settled=partial(settled, self.device))
        with torch.no_grad():
            for images, targets in cycles:
                outputs = torch.sigmoid(self.network(images.to(self.device)))
                self.losses.append(self.criterion(outputs, targets.to(self.device)).item())
        return {"seconds": cycles.seconds, "images": steps * self.pictures.batch_size, "data_wait_s": cycles.waited_s}
