"""Predict the labels of image files with a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from datasets.augment.network_input import to_network_input
from datasets.convert.protocol import Reject
from datasets.errors import InputError
from harness.devices.accelerator import Accelerator, make_accelerator
from harness.export.saved_model import SavedModel
from harness.networks import Network
from harness.runs.runtime import RuntimeConfig

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
"""Files that are taken out of a folder; those given by name are told apart by their content alone."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image file."""

    path: Path
    probabilities: tuple[float, ...] | None
    """In 0..1, in the order of the model's labels; None if the file cannot be used."""
    reason: str | None = None
    """Why there are none."""


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and all PNG, JPEG and DICOM files below the folders, by name.

    Raises:
        InputError: for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise InputError(f"{path}: no image in this folder; looked for {', '.join(SUFFIXES)}")
        found += inside
    return found


def predict_images(
    model: SavedModel, images: Sequence[Path], runtime: RuntimeConfig, *, batch_size: int
) -> Iterator[Prediction]:
    """A prediction for each image, in order, ``batch_size`` of them in one forward pass.

    Pages and network are those of the run's own evaluation, so a test image gets its probability of
    predictions.parquet, to rounding.

    Raises:
        InputError: for a batch size below 1, or a device or precision that is not to be had here.
    """
    if batch_size < 1:
        raise InputError(f"batch_size = {batch_size} must be at least 1")
    accelerator = make_accelerator(runtime)
    network = model.network.to(device=accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pages = zip(images, model.preprocessing.pages(images, workers=runtime.num_workers), strict=True)
    while batch := list(islice(pages, batch_size)):
        yield from _predict(accelerator, network, batch)


def probabilities(accelerator: Accelerator, network: Network, pages: np.ndarray) -> np.ndarray:
    """Probabilities (B, L) float64 of gray pages (B, 1, S, S) uint8."""
    with torch.inference_mode(), accelerator.autocast():
        logits = network(to_network_input(torch.from_numpy(pages).to(accelerator.device))).logits
    found: np.ndarray = torch.sigmoid(logits.double()).cpu().numpy()
    return found


def _predict(
    accelerator: Accelerator, network: Network, batch: Sequence[tuple[Path, np.ndarray | Reject]]
) -> Iterator[Prediction]:
    usable = [page for _, page in batch if not isinstance(page, Reject)]
    rows = iter(probabilities(accelerator, network, np.stack(usable)[:, None]) if usable else ())
    for path, page in batch:
        if isinstance(page, Reject):
            yield Prediction(path, None, page.reason)
        else:
            yield Prediction(path, tuple(map(float, next(rows))))
