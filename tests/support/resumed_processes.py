"""Run in several processes: an epoch in one go, and again from checkpoints of its steps; rank 0 reports the bits.

Then the last process fails, and rank 0 reports how long it waited for it.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from tiny_runs import tiny_config, tiny_runtime, tiny_schedule

from datasets.beton.reader import Beton
from harness.config import NetworkConfig, RunConfig
from harness.devices.accelerator import Accelerator, leaving_at_failure, make_accelerator
from harness.networks import build_network
from harness.runs.checkpoint import weights_hash
from harness.runs.folder import RunFolder
from harness.runs.train_state import TrainState
from harness.training.build import Run, build_components
from harness.training.loop import TrainingCallbacks, TrainingComponents, train_epoch
from harness.training.monitor import ProgressMonitor
from harness.training.signals import StopControl, StopSignals
from harness.training.sync_batch_norm import synchronised
from harness.weights.initialise import initialise


class SavesAt(StopControl):
    """A checkpoint is due after each of some steps, from 1."""

    def __init__(self, steps: set[int], num_processes: int) -> None:
        super().__init__(StopSignals(), checkpoint_minutes=0, num_processes=num_processes, owner=False)
        self.steps, self.done = steps, 0

    def due(self) -> bool:
        self.done += 1
        return self.done in self.steps


def components_of(accelerator: Accelerator, beton: Path, config: RunConfig) -> TrainingComponents:
    runtime = tiny_runtime(beton, Path("unused"))
    folder = RunFolder(Path("unused"))
    run = Run(
        config=config,
        runtime=runtime,
        folder=folder,
        beton=Beton.open(beton),
        accelerator=accelerator,
        weight=None,
        beta=None,
    )
    network = build_network(config.network, 3)
    initialise(network, config.init, runtime, seed=0)
    if config.network.sync_bn:
        network = synchronised(network, accelerator.num_processes)
    return build_components(run, network)


def epoch(
    components: TrainingComponents, position: TrainState, steps: set[int], save: Callable[[TrainState], None]
) -> str:
    """Train the rest of the epoch; hash of the weights at its end."""
    callbacks = TrainingCallbacks(
        epoch_done=lambda _: Future(),
        save=save,
        control=SavesAt(steps, components.accelerator.num_processes),
        watch=ProgressMonitor(advance=lambda *_: None, images=40),
    )
    train_epoch(components, position, 1e-3, callbacks, lambda: 0.0)
    return weights_hash(components.network.state_dict())


def hashes(accelerator: Accelerator, beton: Path, config: RunConfig, steps: set[int]) -> dict[str, str]:
    """Of the weights after the whole epoch, and after the rest of it from each checkpoint by its step."""
    kept: list[Any] = []
    components = components_of(accelerator, beton, config)

    def keep(position: TrainState) -> None:
        learned = components.network.state_dict(), components.optimizer.optimizer.state_dict()
        kept.append((position, copy.deepcopy(learned)))

    found = {"whole": epoch(components, TrainState(), steps, keep)}
    for position, (weights, moments) in kept:
        fresh = components_of(accelerator, beton, config)
        fresh.network.load_state_dict(weights)
        fresh.optimizer.optimizer.load_state_dict(moments)
        found[str(position.partial.batches)] = epoch(fresh, position, set(), lambda _: None)
    return found


def seconds_until_a_failure_is_seen(accelerator: Accelerator) -> float:
    """The last process raises and stays alive; the others are in a collective call with it."""
    last = accelerator.process_index == accelerator.num_processes - 1
    started = time.monotonic()
    try:
        with leaving_at_failure(accelerator):
            if last:
                raise FloatingPointError("training diverged")
            torch.distributed.all_reduce(torch.zeros(1))
    except FloatingPointError:
        time.sleep(3)
    except RuntimeError:
        return time.monotonic() - started
    return float("inf")


def main(beton: Path, out: Path, steps: set[int]) -> None:
    accelerator = make_accelerator(tiny_runtime(beton, Path("unused")))
    config = tiny_config(schedule=tiny_schedule(1, batch_size=8))
    found: dict[str, Any] = {"hashes": hashes(accelerator, beton, config, steps)}
    two = accelerator.num_processes == 2
    network = NetworkConfig(name="timm/test_efficientnet" if two else "timm/test_vit", sync_bn=two)
    found["library"] = hashes(accelerator, beton, dataclasses.replace(config, network=network), {3})
    accelerator.wait_for_everyone()
    owner = accelerator.is_main_process
    found["seconds"] = seconds_until_a_failure_is_seen(accelerator)
    if owner:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), set(map(int, sys.argv[3:])))
