"""Measure the harness's own training loop and validation on a beton."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.common.pictures import FLIP_PROBABILITY, ROTATION_DEG, Pictures
from benchmarks.step.case import NUM_LABELS, VALIDATION_BATCHES, Case
from benchmarks.step.cycles import cycles_on, settled
from benchmarks.step.device import milliseconds, work_of
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.batch import Batch, Batches, Loader
from datasets.loading.options import LoaderOptions
from datasets.loading.prefetch import DeviceBatch, DevicePrefetcher
from datasets.loading.tiers import Tier, open_tier
from harness.config import AttentionTransfer, NetworkConfig, Schedule, TransferLearning, Weights
from harness.devices.accelerator import make_accelerator
from harness.devices.cuda_graph import GraphMemory
from harness.evaluation.evaluate import EVAL_BATCH_SIZES, split_loader
from harness.evaluation.forward import GraphedForward
from harness.evaluation.inference import predict
from harness.networks import build_network
from harness.objectives import Sources, build_objective
from harness.runs.runtime import Precision, RuntimeConfig
from harness.runs.train_state import PartialEpoch, TrainState
from harness.training.build import forward_backward
from harness.training.loop import TrainingCallbacks, TrainingComponents, train_epoch
from harness.training.monitor import ProgressMonitor
from harness.training.optimizer import build_optimizer
from harness.training.parallel import not_recorded
from harness.training.signals import StopControl, StopSignals
from harness.training.step import CompiledNetwork, EagerForwardBackward


class Given(Batches):
    """Batches of any stream; where they come from stays open for the next ones."""

    def __init__(self, stream: Iterator[Batch]) -> None:
        self._stream = stream
        self._closed = False

    def ready(self) -> bool:
        return False

    def close(self) -> None:
        self._closed = True

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        return next(self._stream)


class Through(Loader):
    """Another loader, whose batches go through ``cycles`` on their way."""

    def __init__(self, loader: Loader, cycles: Iterator[Batch], steps: int) -> None:
        super().__init__(loader.plan, device_augment=loader.device_augment)
        self.cycles, self.steps = cycles, steps

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start_step: int = 0) -> Batches:
        return Given(self.cycles)


class Timed:
    """Something callable, or with methods, of which ``names`` are timed; all else is its own."""

    def __init__(self, inner: Any, names: tuple[str, ...], spent: list[float]) -> None:
        self._inner, self._names, self._spent = inner, names, spent

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._timed, found) if name in self._names else found

    def __call__(self, *arguments: Any) -> Any:
        return self._timed(self._inner, *arguments)

    def _timed(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments, **named)
        self._spent.append(time.perf_counter() - started)
        return result


def one_epoch(components: TrainingComponents) -> PartialEpoch:
    """The loop of ``cxr train`` over one epoch, with nobody who looks on or keeps anything."""
    control = StopControl(StopSignals(), checkpoint_minutes=0, num_processes=1, owner=True)
    callbacks = TrainingCallbacks(
        epoch_done=lambda end: Future(),
        save=lambda position: None,
        control=control,
        watch=ProgressMonitor(advance=lambda n=1, note="": None, images=1),
    )
    clock: Any = SimpleNamespace(seconds=0.0)
    return train_epoch(components, TrainState(), 5e-5, callbacks, clock)


class Ours:
    """One network and method in ``harness.training.loop``."""

    def __init__(
        self,
        case: Case,
        pictures: Pictures,
        device: torch.device,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
        cuda_graphs: bool = True,
    ) -> None:
        assert EVAL_BATCH_SIZES == VALIDATION_BATCHES, "all loops validate with batches of one size"
        self.pictures = pictures
        self.beton = Beton.open(Path(pictures.beton))
        workers = pictures.workers
        self.runtime = RuntimeConfig(
            precision=precision,
            device="cuda" if device.type == "cuda" else "cpu",
            num_threads=workers,
            num_workers=workers,
            compile=compiled,
            cuda_graphs=cuda_graphs,
        )
        self.accelerator = make_accelerator(self.runtime)
        self.device = self.accelerator.device
        self.parts = self._parts(case)
        with self.parts.train_loader.epoch(0) as batches:
            self.fixed = next(iter(batches))

    def loader_free(self, steps: int) -> dict[str, float]:
        """Also what neither network, loss nor optimiser took: the overhead, input conversion and metrics included."""
        if self.device.type == "cuda":
            return self._loader_free_on_gpu(steps)
        spent: list[float] = []
        accelerator: Any = Timed(self.accelerator, ("backward",), spent)
        wrapped: Any = Timed(self.parts.wrapped, (), spent)
        objective: Any = Timed(self.parts.objective, (), spent)
        components: Any = replace(
            self.parts,
            optimizer=Timed(self.parts.optimizer, ("step", "zero_grad"), spent),
            forward_backward=EagerForwardBackward(accelerator=accelerator, wrapped=wrapped, objective=objective),
        )
        seconds, trained = self._same_batch(components, steps)
        overhead_s = seconds - sum(spent) - trained.data_wait_s
        return {"seconds": seconds, "images": trained.images, "overhead_s": overhead_s}

    def _loader_free_on_gpu(self, steps: int) -> dict[str, float]:
        """The overhead there is what the loop takes more than the step's parts called one after the other."""
        seconds, trained = self._same_batch(self.parts, steps)
        batch = self._device_batch()
        started = settled(self.device)
        for _ in range(steps):
            self.parts.forward_backward(batch.inputs, batch.targets, batch.global_size)
            self.parts.optimizer.step()
            self.parts.optimizer.zero_grad(set_to_none=True)
        bare_s = settled(self.device) - started
        return {"seconds": seconds, "images": trained.images, "overhead_s": max(0.0, seconds - bare_s)}

    def parts_of_a_step(self, steps: int) -> dict[str, float]:
        """Milliseconds of data, forward and backward pass, and optimiser, each called so many times in a row."""
        step, optimizer, batch = self.parts.forward_backward, self.parts.optimizer, self._device_batch()

        def backward() -> None:
            optimizer.zero_grad(set_to_none=True)
            step(batch.inputs, batch.targets, batch.global_size)

        with DevicePrefetcher(self.parts.train_loader, self.device).epoch(0) as batches:
            cycles = cycles_on(self.device, (one.inputs for one in batches), steps)
            for _ in cycles:
                pass
        found = {
            "data_ms": 1e3 * cycles.seconds / steps,
            "forward_backward_ms": milliseconds(backward, self.device, steps),
            "optimizer_ms": milliseconds(optimizer.step, self.device, steps),
        }
        images = float(steps * self.pictures.batch_size)
        return {**found, "seconds": 1e-3 * steps * sum(found.values()), "images": images}

    def work(self) -> dict[str, float]:
        """What one step asks of the device, counted without compiling and recording."""
        parts, batch = self.parts, self._device_batch()
        plain = EagerForwardBackward(accelerator=self.accelerator, wrapped=parts.network, objective=parts.objective)

        def step() -> None:
            plain(batch.inputs, batch.targets, batch.global_size)
            parts.optimizer.step()
            parts.optimizer.zero_grad(set_to_none=True)

        return work_of(step)

    def _device_batch(self) -> DeviceBatch:
        """The fixed batch, on the device."""
        loader = Through(self.parts.train_loader, self._batches(1), 1)
        with DevicePrefetcher(loader, self.device).epoch(0) as batches:
            (batch,) = batches
        return batch

    def _same_batch(self, components: TrainingComponents, steps: int) -> tuple[float, PartialEpoch]:
        """Train on one batch again and again; seconds, and what was measured."""
        loader = Through(components.train_loader, self._batches(steps), steps)
        started = settled(self.device)
        trained = one_epoch(replace(components, train_loader=loader))
        return settled(self.device) - started, trained

    def _batches(self, steps: int) -> Iterator[Batch]:
        """The same images, each time under other indices: the loop refuses an image that comes twice."""
        for number in range(steps):
            yield replace(self.fixed, indices=self.fixed.indices + number * self.beton.num_samples)

    def whole(self, steps: int) -> dict[str, float]:
        with self.parts.train_loader.epoch(0) as batches:
            cycles = cycles_on(self.device, batches, steps)
            components = replace(self.parts, train_loader=Through(self.parts.train_loader, cycles, steps))
            trained = one_epoch(components)
        return cycles.measured(trained.images)

    def validation(self, steps: int) -> dict[str, float]:
        batch_size = EVAL_BATCH_SIZES[self.device.type]
        indices = np.arange((steps + 1) * batch_size, dtype=np.int64)
        loader = split_loader(self.accelerator, self.beton, indices, self.runtime)
        with loader.epoch(0) as batches:
            cycles = cycles_on(self.device, batches, steps, passes_last=True)
            loader = Through(loader, cycles, steps + 1)
            forward = self.parts.validation_forward
            predict(self.accelerator, self.parts.network, loader, indices, self.runtime, forward=forward)
        return cycles.measured(steps * batch_size)

    def epoch(self, _steps: int) -> dict[str, float]:
        """A whole epoch of all samples as ``cxr train`` makes it, its start and its end included."""
        return self._epoch(self.parts)

    def epoch_streamed(self, _steps: int) -> dict[str, float]:
        """The same with pages streamed from the file."""
        return self._epoch(replace(self.parts, train_loader=self._loader("raw")))

    def _epoch(self, components: TrainingComponents) -> dict[str, float]:
        trained = one_epoch(components)
        return {"seconds": trained.seconds, "images": trained.images, "data_wait_s": trained.data_wait_s}

    def _loader(self, tier: Tier) -> Loader:
        options = LoaderOptions(
            batch_size=self.pictures.batch_size,
            shuffle=True,
            augment=Augment(ROTATION_DEG, FLIP_PROBABILITY),
            num_workers=self.pictures.workers,
        )
        indices = np.arange(self.beton.num_samples, dtype=np.int64)
        return open_tier(self.beton, indices, options, tier=tier, device=self.device)

    def _parts(self, case: Case) -> TrainingComponents:
        network = build_network(NetworkConfig(name=case.network), NUM_LABELS)
        network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher = AttentionTransfer(teacher=Weights(kind="none"), weight=1.0)
        objective = build_objective(
            teacher if case.method == "attention_transfer" else TransferLearning(),
            Sources(runtime=self.runtime, device=self.accelerator.device),
        )
        student = CompiledNetwork(network, self.pictures.batch_size) if self.runtime.compile else network
        wrapped, optimizer = self.accelerator.prepare(student, build_optimizer(network.parameters(), Schedule()))
        indices = np.arange(self.pictures.batch_size, dtype=np.int64)
        memory = GraphMemory()
        graphs = not_recorded(self.accelerator, self.runtime) is None
        return TrainingComponents(
            accelerator=self.accelerator,
            network=network,
            wrapped=wrapped,
            forward_backward=forward_backward(
                self.accelerator, wrapped, objective, [self.pictures.batch_size], self.runtime, memory
            ),
            validation_forward=GraphedForward(network, memory) if graphs else None,
            optimizer=optimizer,
            objective=objective,
            schedule=Schedule(batch_size=self.pictures.batch_size),
            train_loader=self._loader("auto"),
            validation_loader=split_loader(self.accelerator, self.beton, indices, self.runtime),
            validation_indices=indices,
            labels=self.beton.labels,
            runtime=self.runtime,
        )
