"""Run folders made of made-up numbers, for the tests of the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.config import (
    AttentionTransfer,
    DataConfig,
    NetworkConfig,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    to_dict,
)

LABELS = ("Edema", "Effusion")


def student(
    *,
    seed: int = 0,
    network: str = "densenet121",
    teacher: str | None = None,
    subset: str = "200",
    image_size: int = 64,
    epochs: int = 3,
    init: Weights | None = None,
    scope: str = "all",
    beta: Any = 1.0,
    dataset: str = "chexpert",
) -> RunConfig:
    """A student; ``teacher`` is None, ``imagenet`` or ``mimic_cxr``."""
    objective: Any = TransferLearning()
    if teacher is not None:
        source = Weights() if teacher == "imagenet" else Weights(kind="run", run=mimic_teacher(image_size))
        objective = AttentionTransfer(teacher=source, beta=beta)
    return RunConfig(
        data=DataConfig(dataset=dataset, subset=subset, image_size=image_size),  # type: ignore[arg-type]
        network=NetworkConfig(name=network, scope=scope),  # type: ignore[arg-type]
        init=init if init is not None else Weights(),
        objective=objective,
        schedule=Schedule(epochs=epochs),
        seed=seed,
    )


def mimic_teacher(image_size: int = 64) -> RunConfig:
    return RunConfig(data=DataConfig(dataset="mimic_cxr", image_size=image_size), init=Weights(kind="none"))


def pretraining(network: str = "densenet121", image_size: int = 64) -> RunConfig:
    return RunConfig(
        data=DataConfig(dataset="chestxray14", image_size=image_size),
        network=NetworkConfig(name=network),  # type: ignore[arg-type]
        init=Weights(kind="none"),
    )


def write_run(
    directory: Path,
    config: RunConfig,
    auroc: Mapping[str, float | None] | float | None,
    *,
    name: str | None = None,
    curve: Sequence[tuple[float | None, float | None]] = (),
    provenance: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
) -> Path:
    """Write one run folder; without ``auroc`` it is unfinished.

    Args:
        directory: the folder of run folders.
        config: the run.
        auroc: AUROC in 0..1 by label, or one value for every label.
        name: of the folder, when not the run id.
        curve: (train, validation) mean AUROC epoch by epoch, ten optimiser steps each.
        provenance: entries of provenance.json.
        result: entries that replace those of result.json.
        status: status.json of an unfinished run.
    """
    folder = directory / (name or config.run_id)
    folder.mkdir(parents=True)
    head = {"schema": 1, "run_id": config.run_id, "name": config.name, "config": to_dict(config)}
    write(folder / "config.json", head)
    lines = [epoch_line(epoch, *pair) for epoch, pair in enumerate(curve)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    git = {"commit": "0123456789abcdef", "dirty": False}
    write(folder / "provenance.json", {"git": git, "content_hash": "sha256:" + "beef" * 8, **(provenance or {})})
    if auroc is None:
        write(folder / "status.json", status or {"state": "running", "epoch": 1, "epochs": 3, "error": None})
        return folder
    write_predictions(folder, list(result_document(config, auroc)["test"]["auroc"]), seed=config.seed)
    write(folder / "result.json", {**result_document(config, auroc), **(result or {})})
    return folder


def write_predictions(folder: Path, labels: Sequence[str], *, seed: int = 0, num_images: int = 40) -> None:
    """Two images a patient; targets are the same for every run, logits differ with the seed and the folder's name."""
    targets = np.random.default_rng(0).random((num_images, len(labels))) < 0.4
    targets[0], targets[1] = True, False
    noise = np.random.default_rng([seed, *folder.name.encode()]).normal(size=targets.shape)
    frame: dict[str, Any] = {
        "index": np.arange(num_images),
        "path": [f"p{i // 2:04d}/{i}.png" for i in range(num_images)],
        "patient": [f"p{i // 2:04d}" for i in range(num_images)],
    }
    frame |= {f"target:{label}": targets[:, i].astype(np.uint8) for i, label in enumerate(labels)}
    frame |= {f"logit:{label}": (noise + targets)[:, i].astype(np.float32) for i, label in enumerate(labels)}
    pd.DataFrame(frame).to_parquet(folder / "predictions.parquet", index=False)


def result_document(config: RunConfig, auroc: Mapping[str, float | None] | float) -> dict[str, Any]:
    by_label = dict(auroc) if isinstance(auroc, Mapping) else dict.fromkeys(LABELS, auroc)
    values = [value for value in by_label.values() if value is not None]
    return {
        "run_id": config.run_id,
        "name": config.name,
        "status": "done",
        "content_hash": "sha256:" + "beef" * 8,
        "best_epoch": 2,
        "validation": {"mean_auroc": 0.75},
        "test": {
            "mean_auroc": sum(values) / len(values) if values else None,
            "auroc": by_label,
            "undefined_labels": [label for label, value in by_label.items() if value is None],
            "num_samples": 40,
        },
        "attention_weight": 0.5 if isinstance(config.objective, AttentionTransfer) else None,
        "train_images": 200,
        "seconds": 61.5,
        "images_per_s": 1234.5,
    }


def epoch_line(epoch: int, train: float | None, validation: float | None) -> str:
    scores = None if validation is None else {"cross_entropy": 0.4, "mean_auroc": validation, "auroc": {}}
    record = {
        "epoch": epoch,
        "step": 10 * (epoch + 1),
        "train": {"loss": 0.5, "mean_auroc": train},
        "validation": scores,
    }
    return json.dumps(record) + "\n"


def repetitions(config: RunConfig, count: int) -> list[RunConfig]:
    return [dataclasses.replace(config, seed=seed) for seed in range(count)]


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
