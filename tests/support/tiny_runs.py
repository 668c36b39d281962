"""Runs small enough for tests: 64x64 images whose findings are bright quadrants, and configs of seconds."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from datasets.beton.format import Encoding
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.files import read_json
from datasets.sources.records import Records
from harness.config import AttentionTransfer, DataConfig, LossOptions, NetworkConfig, RunConfig, Schedule, Weights
from harness.networks import draw_weights
from harness.networks.xrv_densenet121 import XrvDenseNet121
from harness.runs.checkpoint import load_weights, weights_hash
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run
from harness.weights.xrv import xrv_hash

LABELS = ("Effusion", "Mass", "Nodule")
SIZE = 64
SPLITS = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2


def write_tiny_beton(
    folder: Path,
    *,
    num_samples: int = 90,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    dataset: str = "chestxray14",
    encoding: Encoding = "raw",
    splits_from: int = 0,
) -> Path:
    """Write images and ``DATASET.beton``: label j brightens quadrant j; the last image's first is ignored.

    Label j of every fifth image from j on is marked as uncertain.
    """
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_samples, len(labels))) < 0.5).astype(np.uint8)
    names = [f"{number:04d}.png" for number in range(num_samples)]
    images = folder / ("images" if dataset == "chestxray14" else dataset)
    images.mkdir(parents=True)
    for name, row in zip(names, targets, strict=True):
        pixels = rng.normal(90, 25, (SIZE, SIZE))
        for label, present in enumerate(row):
            y, x = divmod(label, 2)
            pixels[y * 32 : y * 32 + 32, x * 32 : x * 32 + 32] += 90 * int(present)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(images / name)
    targets[-1, 0] = 255
    splits = np.array([SPLITS[(number + splits_from) % len(SPLITS)] for number in range(num_samples)])
    ranks = np.where(splits == "train", np.cumsum(splits == "train") - 1, -1)
    convert(
        dataclasses.replace(
            _records(images, names, targets, labels, dataset),
            uncertain_at=np.arange(num_samples)[:, None] % 5 == np.arange(len(labels)),
        ),
        splits,
        ranks,
        folder / f"{dataset}.beton",
        ConvertOptions(size=SIZE, workers=1, encoding=encoding),
    )
    return folder / f"{dataset}.beton"


def _records(root: Path, names: list[str], targets: np.ndarray, labels: tuple[str, ...], dataset: str) -> Records:
    numbers = [name.removesuffix(".png") for name in names]
    frame = pd.DataFrame({"path": names, "name": names, "patient": numbers, "study": numbers})
    frame = frame.assign(view="frontal", official_split="", sex=pd.NA, age=pd.array([pd.NA] * len(names), "Int16"))
    return Records(
        dataset=dataset,
        root=root,
        labels=labels,
        frame=frame,
        targets=targets,
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )


def tiny_config(*, epochs: int = 2, **changes: Any) -> RunConfig:
    """DenseNet-40 from random weights by transfer learning; ``changes`` replace fields of RunConfig."""
    config = RunConfig(
        data=DataConfig(dataset="chestxray14", image_size=SIZE, subset="40"),
        network=NetworkConfig(name="densenet40"),
        init=Weights(kind="none"),
        schedule=tiny_schedule(epochs),
    )
    return dataclasses.replace(config, **changes)


def mixed_config(*, epochs: int = 2, dataset: str = "chestxray14+clinic", subset: str = "full") -> RunConfig:
    """A run on two datasets, equally often drawn."""
    data = DataConfig(dataset=dataset, image_size=SIZE, subset=subset, balance="dataset")
    return tiny_config(epochs=epochs, data=data)


def tiny_schedule(epochs: int, **changes: Any) -> Schedule:
    """Three steps an epoch, the last one of half a batch; the learning rate halves after two epochs."""
    schedule = Schedule(epochs=epochs, batch_size=16, learning_rate=1e-3, halve_every=2)
    return dataclasses.replace(schedule, **changes)


def all_options(config: RunConfig) -> RunConfig:
    """The config with every option of training."""
    schedule = dataclasses.replace(
        config.schedule,
        optimizer="adamw",
        weight_decay=0.05,
        policy="cosine",
        warmup_epochs=0.5,
        accumulate=2,
        ema_decay=0.5,
    )
    loss = LossOptions(
        positive_weights="prevalence",
        label_smoothing=0.1,
        uncertain={"Effusion": "smoothed", "Mass": "ignore"},
        mixup=0.4,
    )
    data = dataclasses.replace(config.data, balance="Effusion", scale=0.1, crop=0.2, brightness=0.1, contrast=0.2)
    return dataclasses.replace(config, data=data, schedule=schedule, loss=loss)


def attention_transfer(weight: float) -> AttentionTransfer:
    """Attention transfer from a teacher with random weights."""
    return AttentionTransfer(teacher=Weights(kind="none"), weight=weight)


def write_xrv(folder: Path) -> tuple[Weights, Path]:
    """A teacher of torchxrayvision's architecture with random weights: how a config names it, and its file."""
    network, path = XrvDenseNet121(), folder / "xrv.pt"
    draw_weights(network, seed=7)
    torch.save(network.state_dict(), path)
    return Weights(kind="xrv", name="densenet121-res224-all", sha256=xrv_hash(path)), path


def tiny_runtime(beton: Path, runs_dir: Path, **changes: Any) -> RuntimeConfig:
    """One thread on the CPU, in float32 whatever the processor."""
    folders = {"runs_dir": runs_dir, "data_dir": beton.parent}
    one = {"device": "cpu", "precision": "fp32", "num_workers": 1, "num_threads": 1}
    return RuntimeConfig(**{**folders, **one, **changes})


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run that has been trained to its end."""

    config: RunConfig
    runtime: RuntimeConfig
    result: dict[str, Any]

    @classmethod
    def train(cls, beton: Path, runs_dir: Path) -> FinishedRun:
        config, runtime = tiny_config(epochs=3), tiny_runtime(beton, runs_dir)
        return cls(config, runtime, train_run(config, runtime))

    @property
    def folder(self) -> RunFolder:
        return self.runtime.folder_of(self.config)


def interrupted(config: RunConfig, runtime: RuntimeConfig, *, after_epochs: int) -> None:
    """Train, and let SIGTERM arrive in the first step after that many epochs are in the checkpoint."""

    def send(*_: object) -> None:
        if read_status(runtime.folder_of(config)).get("epoch", 0) >= after_epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = register_optimizer_step_post_hook(send)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_run(config, runtime)
    finally:
        hook.remove()


def read_status(folder: RunFolder) -> dict[str, Any]:
    status: dict[str, Any] = read_json(folder.status_file) if folder.status_file.exists() else {}
    return status


def without_times(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl less what depends on the machine."""
    times = {"images_per_s", "data_wait_s", "compute_s", "elapsed_s", "peak_rss_bytes", "peak_cuda_bytes"}
    return [{key: value for key, value in line.items() if key not in times} for line in folder.metrics()]


def hash_of(folder: Path) -> str:
    """Hash of a checkpoint's weights."""
    return weights_hash(load_weights(folder)[0])
