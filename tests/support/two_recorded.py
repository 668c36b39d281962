"""What two gloo processes compute without DistributedDataParallel, as steps that are recorded on GPUs do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import gather_object
from cuda_on_tapes import record_on_tapes
from plain_network import PlainNetwork, one_epoch, plain_components
from tiny_runs import all_options, hash_of, tiny_config, tiny_runtime
from torch import Tensor, nn

from harness.config import DataConfig, RunConfig
from harness.devices.accelerator import Accelerator
from harness.networks import NetworkOutput
from harness.runs.step_hashes import StepsDone
from harness.training.parallel import FlatGradients
from harness.training.run import train_run
from harness.training.sync_batch_norm import synchronised


class NormedNetwork(PlainNetwork):
    """The plain network with a batch norm, which may be synchronised."""

    def __init__(self, num_outputs: int = 3) -> None:
        super().__init__(num_outputs)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> NetworkOutput:
        planes = self.second(torch.relu(self.norm(self.first(images))))
        return NetworkOutput(self.classifier(planes.mean((2, 3))), planes)


@contextmanager
def without_wrapper(*, recorded: bool = False) -> Iterator[None]:
    """Let the parts of a run be those of recorded steps, without a wrapper; and let its steps be ``recorded``."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in ("parallel", "build")[: 2 if recorded else 1]:
            monkeypatch.setattr(f"harness.training.{module}.not_recorded", lambda *_: None)
        yield


def averages(accelerator: Accelerator) -> dict[str, Any]:
    """Averaged gradients of a convolution in channels_last, a frozen one, and one without a gradient; and means."""
    rank = accelerator.process_index
    used, frozen, unused = (nn.Conv2d(3, 2, 3, bias=False) for _ in range(3))
    used.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen.weight.requires_grad_(False)
    flat = FlatGradients([module.weight for module in (frozen, used, unused)], accelerator.num_processes)
    own = torch.randn(used.weight.shape, generator=torch.Generator().manual_seed(rank))
    (used.weight * own).sum().backward()
    flat.average()
    assert used.weight.grad is not None
    return {
        "found": gather_object([used.weight.grad.flatten().tolist()]),
        "mean": (sum(torch.tensor(each) for each in gather_object([own.tolist()])) / 2).flatten().tolist(),
        "strides": [used.weight.grad.stride(), used.weight.stride()],
        "none": [module.weight.grad is None for module in (frozen, unused)],
    }


def ragged() -> RunConfig:
    """A last batch of which the first process has as many images as of a whole one: 16, 16 and 15 over two."""
    data = DataConfig(dataset="chestxray14", image_size=64, subset="47")
    return tiny_config(data=data)


def epochs(accelerator: Accelerator, beton: Path) -> dict[str, list[Any]]:
    """An epoch of each kind through DistributedDataParallel and without; and the weights of the other process."""
    found = {}
    for name, config in (("plain", ragged()), ("options", all_options(tiny_config()))):
        wrapped = one_epoch(plain_components(accelerator, beton, config))
        with without_wrapper():
            flat = one_epoch(plain_components(accelerator, beton, config))
        found[name] = [wrapped, flat, gather_object([flat["weights"]])]
    return found


def recorded(accelerator: Accelerator, beton: Path) -> list[Any]:
    """Epochs with synchronised batch norm: steps one by one, and recorded and replayed; the number of recordings."""
    ends: list[Any] = []
    for replayed in (False, True):
        with without_wrapper(recorded=replayed), pytest.MonkeyPatch.context() as monkeypatch:
            network = synchronised(NormedNetwork(), accelerator.num_processes)
            components = plain_components(accelerator, beton, ragged(), network=network)
            tapes = record_on_tapes(network, monkeypatch) if replayed else []
            ends.append(one_epoch(components))
    return [*ends, len(tapes)]


def resumed(beton: Path, runs_dir: Path) -> list[str]:
    """Hashes of the best weights of a run at one go, and of one that was stopped in each epoch."""
    hashes = []
    with without_wrapper(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("harness.training.run.build_network", lambda _, num_outputs: PlainNetwork(num_outputs))
        monkeypatch.setattr("harness.training.run.leaving_at_failure", nullcontext)  # of the process group
        monkeypatch.setattr(Accelerator, "end_training", lambda _: None)
        for name, stops in (("whole", ()), ("parts", (1, 5))):
            for max_steps in (*stops, None):
                runtime = tiny_runtime(beton, runs_dir / name, max_steps=max_steps)
                with suppress(StepsDone):
                    train_run(ragged(), runtime)
            hashes.append(hash_of(runtime.folder_of(ragged()).best_dir))
    return hashes
