"""Predict the labels of image files with a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.augment.network_input import to_network_input
from datasets.convert.protocol import Reject
from datasets.errors import InputError
from datasets.images.decode import is_image
from harness.devices.accelerator import Accelerator, make_accelerator
from harness.evaluation.calibration import Calibration
from harness.export.saved_model import SavedModel
from harness.networks import Network
from harness.runs.runtime import RuntimeConfig

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
"""Files that are taken out of a folder whatever their content; a damaged one is then named with the reason."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image file."""

    path: Path
    probabilities: tuple[float | None, ...] | None
    """In 0..1, in the order of the model's labels; None if the file cannot be used, or for a label that was not
    calibrated and should be."""
    reason: str | None = None
    """Why there are none."""
    decisions: tuple[bool | None, ...] | None = None
    """Whether each label is positive, None for one without a threshold; None if nothing was to be decided."""


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Calibrates, and decides by one rule."""

    calibration: Calibration
    rule: str
    """One of ``harness.evaluation.calibration.RULES``."""


def image_files(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files themselves and all images below the folders, by name; then what was passed over there.

    Links to folders are followed, and each folder is looked through once. A file is an image by its suffix or by its
    first bytes: DICOMs from an archive often have no suffix.

    Raises:
        InputError: for a folder without any.
    """
    found, passed = list[Path](), list[Path]()
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside: dict[bool, list[Path]] = {True: [], False: []}
        for file in _below(path, set()):
            inside[file.is_file() and (file.suffix.lower() in SUFFIXES or is_image(file))].append(file)
        if not inside[True]:
            others = f"{len(inside[False]):,} files are no PNG, JPEG or DICOM"
            raise InputError(f"{path}: no image in this folder; its {others}")
        found += sorted(inside[True])
        passed += sorted(inside[False])
    return found, passed


def _below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """All that is no folder below one, those reached by links too; ``seen`` are the folders looked through so far."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for child in sorted(folder.iterdir(), key=lambda child: (child.is_symlink(), child.name)):
        if child.is_dir():
            yield from _below(child, seen)
        else:
            yield child


def predict_images(
    model: SavedModel,
    images: Sequence[Path],
    runtime: RuntimeConfig,
    *,
    batch_size: int,
    decider: Decider | None = None,
) -> Iterator[Prediction]:
    """A prediction for each image, in order, ``batch_size`` of them in one forward pass.

    Pages and network are those of the run's own evaluation, so a test image gets its probability of
    predictions.parquet, to rounding. With ``decider`` probabilities are calibrated and come with decisions.

    Raises:
        InputError: for a batch size below 1, or a device or precision that is not to be had here.
    """
    if batch_size < 1:
        raise InputError(f"batch_size = {batch_size} must be at least 1")
    accelerator = make_accelerator(runtime)
    network = model.network.to(device=accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pages = zip(images, model.preprocessing.pages(images, workers=runtime.num_workers), strict=True)
    while batch := list(islice(pages, batch_size)):
        usable = [page for _, page in batch if not isinstance(page, Reject)]
        found = _answers(_logits(accelerator, network, np.stack(usable)[:, None]), decider) if usable else iter(())
        for path, page in batch:
            if isinstance(page, Reject):
                yield Prediction(path, None, page.reason)
            else:
                values, decisions = next(found)
                yield Prediction(path, values, decisions=decisions)


def _logits(accelerator: Accelerator, network: Network, pages: np.ndarray) -> Tensor:
    """Logits (B, L) of gray pages (B, 1, S, S) uint8, on the device."""
    with torch.inference_mode(), accelerator.autocast():
        logits: Tensor = network(to_network_input(torch.from_numpy(pages).to(accelerator.device))).logits
    return logits


def _answers(
    logits: Tensor, decider: Decider | None
) -> Iterator[tuple[tuple[float | None, ...], tuple[bool | None, ...] | None]]:
    """Probabilities and decisions of each image."""
    if decider is None:
        for row in torch.sigmoid(logits.double()).cpu().numpy():
            yield tuple(map(float, row)), None
        return
    values = logits.float().cpu().numpy()
    decided = decider.calibration.decisions(values, decider.rule)
    for row, decisions in zip(decider.calibration.probabilities(values), decided, strict=True):
        yield (
            tuple(None if np.isnan(value) else float(value) for value in row),
            tuple(None if np.isnan(value) else bool(value) for value in decisions),
        )
