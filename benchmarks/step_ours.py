"""The harness's own training loop and validation: a beton comes in; trained steps and what they cost go out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.pictures import FLIP_PROBABILITY, ROTATION_DEG, Pictures
from benchmarks.step_case import NUM_LABELS, VALIDATION_BATCH, Case
from benchmarks.step_cycles import Cycles
from datasets.augment import Augment
from datasets.beton import Beton
from datasets.loader import Batch, Batches, Loader
from datasets.tiers import Tier, open_tier
from harness.compile import CompiledNetwork
from harness.config import AttentionTransfer, NetworkConfig, Schedule, TransferLearning, Weights
from harness.devices import make_accelerator
from harness.evaluate import EVAL_BATCH_SIZE, split_loader
from harness.networks import build_network
from harness.objectives import build_objective
from harness.optimizer import build_adam
from harness.position import PartialEpoch, Position
from harness.runtime import RuntimeConfig
from harness.stopping import Control, StopSignals
from harness.train import Parts, Surroundings, train_epoch
from harness.validate import predict
from harness.watch import Watch


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
        super().__init__(loader.plan, left_to_device=loader.left_to_device)
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
        return self._timed(found) if name in self._names else found

    def __call__(self, *arguments: Any) -> Any:
        return self._timed(self._inner)(*arguments)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **named)
            self._spent.append(time.perf_counter() - started)
            return result

        return call


def one_epoch(parts: Parts) -> PartialEpoch:
    """The loop of ``cxr train`` over one epoch, with nobody who looks on or keeps anything."""
    control = Control(StopSignals(), checkpoint_minutes=0, num_processes=1, owner=True)
    around = Surroundings(
        epoch_done=lambda position, record: None,
        save=lambda position: None,
        control=control,
        watch=Watch(advance=lambda n=1, note="": None, images=1),
    )
    clock: Any = SimpleNamespace(seconds=0.0)
    return train_epoch(parts, Position(), 5e-5, around, clock)


class Ours:
    """One network and method in ``harness.train``."""

    def __init__(self, case: Case, pictures: Pictures, *, compiled: bool = False) -> None:
        assert EVAL_BATCH_SIZE == VALIDATION_BATCH, "all loops validate with batches of one size"
        self.pictures = pictures
        self.beton = Beton.open(Path(pictures.beton))
        workers = pictures.workers
        self.runtime = RuntimeConfig(
            precision="bf16", device="cpu", num_threads=workers, num_workers=workers, compile=compiled
        )
        self.accelerator = make_accelerator(self.runtime)
        self.parts = self._parts(case)
        with self.parts.train_loader.epoch(0) as batches:
            self.fixed = next(iter(batches))

    def loader_free(self, steps: int) -> dict[str, float]:
        """Also what neither network, loss nor optimiser took: the overhead, input conversion and metrics included."""
        spent: list[float] = []
        parts: Any = replace(
            self.parts,
            wrapped=Timed(self.parts.wrapped, (), spent),  # type: ignore[arg-type]
            objective=Timed(self.parts.objective, (), spent),  # type: ignore[arg-type]
            optimizer=Timed(self.parts.optimizer, ("step", "zero_grad"), spent),
            accelerator=Timed(self.parts.accelerator, ("backward",), spent),
        )
        started = time.perf_counter()
        # An epoch for each step: within one, the loop refuses an image that comes twice.
        trained = [
            one_epoch(replace(parts, train_loader=Through(parts.train_loader, iter([self.fixed]), 1)))
            for _ in range(steps)
        ]
        seconds = time.perf_counter() - started
        overhead_s = seconds - sum(spent) - sum(one.data_wait_s for one in trained)
        return {"seconds": seconds, "images": sum(one.images for one in trained), "overhead_s": overhead_s}

    def whole(self, steps: int) -> dict[str, float]:
        with self.parts.train_loader.epoch(0) as batches:
            cycles = Cycles(batches, steps)
            parts = replace(self.parts, train_loader=Through(self.parts.train_loader, cycles, steps))
            trained = one_epoch(parts)
        return {"seconds": cycles.seconds, "images": trained.images, "data_wait_s": cycles.waited_s}

    def validation(self, steps: int) -> dict[str, float]:
        indices = np.arange((steps + 1) * VALIDATION_BATCH, dtype=np.int64)
        loader = split_loader(self.accelerator, self.beton, indices, self.runtime)
        with loader.epoch(0) as batches:
            cycles = Cycles(batches, steps, passes_last=True)
            loader = Through(loader, cycles, steps + 1)
            predict(self.accelerator, self.parts.network, loader, indices, self.runtime)
        return {"seconds": cycles.seconds, "images": steps * VALIDATION_BATCH, "data_wait_s": cycles.waited_s}

    def epoch(self, _steps: int) -> dict[str, float]:
        """A whole epoch of all samples as ``cxr train`` makes it, its start and its end included."""
        return self._epoch(self.parts)

    def epoch_streamed(self, _steps: int) -> dict[str, float]:
        """The same with pages streamed from the file."""
        return self._epoch(replace(self.parts, train_loader=self._loader("raw")))

    def _epoch(self, parts: Parts) -> dict[str, float]:
        trained = one_epoch(parts)
        return {"seconds": trained.seconds, "images": trained.images, "data_wait_s": trained.data_wait_s}

    def _loader(self, tier: Tier) -> Loader:
        return open_tier(
            self.beton,
            np.arange(self.beton.num_samples, dtype=np.int64),
            tier,
            batch_size=self.pictures.batch_size,
            shuffle=True,
            augment=Augment(ROTATION_DEG, FLIP_PROBABILITY),
            num_workers=self.pictures.workers,
        )

    def _parts(self, case: Case) -> Parts:
        network = build_network(NetworkConfig(name=case.network), NUM_LABELS)
        network.to(memory_format=torch.channels_last)
        teacher = AttentionTransfer(teacher=Weights(kind="none"), weight=1.0)
        objective = build_objective(
            teacher if case.method == "attention_transfer" else TransferLearning(),
            weight=None,
            folder_of=self.runtime.folder_of,
            imagenet_weights=None,
            device=self.accelerator.device,
        )
        student = CompiledNetwork(network, self.pictures.batch_size) if self.runtime.compile else network
        wrapped, optimizer = self.accelerator.prepare(student, build_adam(network.parameters(), 5e-5))
        indices = np.arange(self.pictures.batch_size, dtype=np.int64)
        return Parts(
            accelerator=self.accelerator,
            network=network,
            wrapped=wrapped,
            optimizer=optimizer,
            objective=objective,
            schedule=Schedule(batch_size=self.pictures.batch_size),
            train_loader=self._loader("auto"),
            validation_loader=split_loader(self.accelerator, self.beton, indices, self.runtime),
            validation_indices=indices,
            labels=self.beton.labels,
            runtime=self.runtime,
        )
