"""The harness's own training loop and validation: a beton comes in; trained steps and what they cost go out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.pictures import FLIP_PROBABILITY, ROTATION_DEG, Pictures
from benchmarks.step_case import NUM_LABELS, Case
from datasets.beton import Beton
from datasets.loader import Batch, train_loader
from harness.compile import CompiledNetwork
from harness.config import AttentionTransfer, NetworkConfig, Schedule, TransferLearning, Weights
from harness.devices import make_accelerator
from harness.evaluate import split_loader
from harness.networks import build_network
from harness.objectives import build_objective
from harness.optimizer import build_adam
from harness.position import PartialEpoch, Position
from harness.runtime import RuntimeConfig
from harness.stopping import Control, StopSignals
from harness.train import Parts, Surroundings, train_epoch
from harness.validate import predict
from harness.watch import Watch


class OneBatch:
    """A loader that hands out the same batch again and again: what is left is the loop without a loader."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start_step: int = 0) -> Any:
        return nullcontext(iter([self.batch] * self.steps))


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
        self.pictures = pictures
        self.beton = Beton.open(Path(pictures.beton))
        workers = pictures.workers
        self.runtime = RuntimeConfig(
            precision="bf16", device="cpu", num_threads=workers, num_workers=workers, compile=compiled
        )
        self.accelerator = make_accelerator(self.runtime)
        self.parts = self._parts(case)
        with self._loader(1).epoch(0) as batches:
            self.fixed = next(iter(batches))

    def loader_free(self, steps: int) -> dict[str, float]:
        """Also what neither network, loss nor optimiser took: the overhead, input conversion and metrics included."""
        spent: list[float] = []
        parts: Any = replace(
            self.parts,
            train_loader=OneBatch(self.fixed, steps),  # type: ignore[arg-type]
            wrapped=Timed(self.parts.wrapped, (), spent),  # type: ignore[arg-type]
            objective=Timed(self.parts.objective, (), spent),  # type: ignore[arg-type]
            optimizer=Timed(self.parts.optimizer, ("step", "zero_grad"), spent),
            accelerator=Timed(self.parts.accelerator, ("backward",), spent),
        )
        started = time.perf_counter()
        trained = one_epoch(parts)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "images": trained.images,
            "overhead_s": seconds - sum(spent) - trained.data_wait_s,
        }

    def whole(self, steps: int) -> dict[str, float]:
        parts = replace(self.parts, train_loader=self._loader(steps))
        started = time.perf_counter()
        trained = one_epoch(parts)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "images": trained.images, "data_wait_s": trained.data_wait_s}

    def validation(self, steps: int) -> dict[str, float]:
        indices = self._indices(steps)
        loader = split_loader(self.accelerator, self.beton, indices, self.runtime)
        started = time.perf_counter()
        predict(self.accelerator, self.parts.network, loader, indices, self.runtime)
        return {"seconds": time.perf_counter() - started, "images": len(indices)}

    def _indices(self, steps: int) -> np.ndarray:
        return np.arange(min(self.beton.num_samples, steps * self.pictures.batch_size), dtype=np.int64)

    def _loader(self, steps: int) -> Any:
        return train_loader(
            self.beton,
            self._indices(steps),
            batch_size=self.pictures.batch_size,
            seed=0,
            rotation_deg=ROTATION_DEG,
            flip_probability=FLIP_PROBABILITY,
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
        indices = self._indices(1)
        return Parts(
            accelerator=self.accelerator,
            network=network,
            wrapped=wrapped,
            optimizer=optimizer,
            objective=objective,
            schedule=Schedule(batch_size=self.pictures.batch_size),
            train_loader=self._loader(1),
            validation_loader=split_loader(self.accelerator, self.beton, indices, self.runtime),
            validation_indices=indices,
            labels=self.beton.labels,
            runtime=self.runtime,
        )
