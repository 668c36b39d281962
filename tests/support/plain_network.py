"""A network without batch norm: what it learns does not depend on how a batch is shared; and one epoch of it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from tiny_runs import tiny_config, tiny_runtime, tiny_schedule
from torch import Tensor, nn

from datasets.beton.mixed import open_beton
from harness.config import NetworkConfig, RunConfig, Schedule
from harness.devices.accelerator import Accelerator
from harness.networks import Network, NetworkOutput
from harness.runs.folder import RunFolder
from harness.runs.train_state import TrainState
from harness.training.build import Run, build_components
from harness.training.loop import TrainingCallbacks, TrainingComponents, train_epoch
from harness.training.monitor import ProgressMonitor
from harness.training.signals import StopControl, StopSignals


class PlainNetwork(Network):
    """Two convolutions and a classifier."""

    def __init__(self, num_outputs: int = 3) -> None:
        super().__init__(NetworkConfig(name="densenet40"))
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Conv2d(3, 8, 8, stride=8)
        self.second = nn.Conv2d(8, 32, 4, stride=4)
        self.classifier = nn.Linear(32, num_outputs)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)

    def forward(self, images: Tensor) -> NetworkOutput:
        planes = self.second(torch.relu(self.first(images)))
        return NetworkOutput(self.classifier(planes.mean((2, 3))), planes)


def plain_components(
    accelerator: Accelerator,
    beton: Path,
    config: RunConfig | None = None,
    *,
    schedule: Schedule | None = None,
    network: Network | None = None,
    **changes: Any,
) -> TrainingComponents:
    """The parts of a run of the plain network, or ``network``; ``changes`` are of its runtime."""
    run = Run(
        config=config or tiny_config(schedule=schedule or tiny_schedule(2)),
        runtime=tiny_runtime(beton, Path("unused"), **changes),
        folder=RunFolder(Path("unused")),
        beton=open_beton(beton),
        accelerator=accelerator,
        weight=None,
        beta=None,
    )
    return build_components(run, network or PlainNetwork())


def plain_callbacks(accelerator: Accelerator) -> TrainingCallbacks:
    """TrainingCallbacks that keep nothing."""
    control = StopControl(
        StopSignals(),
        checkpoint_minutes=0,
        num_processes=accelerator.num_processes,
        owner=accelerator.is_main_process,
    )
    return TrainingCallbacks(
        epoch_done=lambda _: Future(),
        save=lambda _: None,
        control=control,
        watch=ProgressMonitor(advance=lambda *_: None, images=40),
    )


def one_epoch(components: TrainingComponents) -> dict[str, Any]:
    """Loss sums and weights after one epoch, as plain values."""
    callbacks = plain_callbacks(components.accelerator)
    epoch = train_epoch(components, TrainState(), 1e-3, callbacks, lambda: 0.0)
    kept = components.network.state_dict()
    if components.averaged is not None:
        kept |= {f"averaged.{name}": value for name, value in components.evaluated.state_dict().items()}
    weights = {name: value.flatten().tolist() for name, value in kept.items()}
    return {
        "sums": epoch.sums.sum(0).tolist(),
        "indices": epoch.indices.tolist(),
        "skipped": epoch.skipped,
        "weights": weights,
    }
