"""Explain image files by maps of where a trained network looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from datasets.augment.network_input import to_network_input
from datasets.convert.protocol import Reject
from datasets.errors import InputError
from harness.devices.accelerator import make_accelerator
from harness.evaluation.explain import ATTENTION, map_makers
from harness.evaluation.localisation import enlarged
from harness.export.saved_model import SavedModel
from harness.runs.runtime import RuntimeConfig


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """The page that an image file became, and its maps."""

    path: Path
    page: np.ndarray | None
    """(S, S) uint8; None if the file cannot be used."""
    probabilities: dict[str, float] = field(default_factory=dict)
    """By label: those that Grad-CAM is of."""
    attention: np.ndarray | None = None
    """(S, S) float32."""
    grad_cam: dict[str, np.ndarray] = field(default_factory=dict)
    """(S, S) float32 by label; none where the network's tap has none."""
    reason: str = ""
    """Why there is no page."""


def explain_images(
    model: SavedModel, images: Sequence[Path], runtime: RuntimeConfig, *, labels: Sequence[str] = ()
) -> Iterator[ExplainedImage]:
    """The maps of each image file, in order, in float32.

    Grad-CAM is of ``labels``; of each image's most probable one where none are given.

    Raises:
        InputError: for a label that the network does not have.
    """
    unknown = [label for label in labels if label not in model.labels]
    if unknown:
        raise InputError(f"--label {unknown[0]}: the network's labels are {', '.join(model.labels)}")
    accelerator = make_accelerator(runtime)
    network = model.network.to(device=accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    makers = map_makers(network)
    attention_of, others = makers.pop(ATTENTION), list(makers.values())
    pages = model.preprocessing.pages(images, workers=runtime.num_workers)
    for path, page in zip(images, pages, strict=True):
        if isinstance(page, Reject):
            yield ExplainedImage(path, None, reason=page.reason)
            continue
        pages_of_one = np.stack([page])  # a copy, since the page itself cannot be written to
        with torch.inference_mode():
            inputs = to_network_input(torch.from_numpy(pages_of_one)[:, None].to(accelerator.device))
            found = network(inputs).logits[0].double().sigmoid().cpu().numpy()
        chosen = [model.labels.index(label) for label in labels] or [int(found.argmax())]
        repeated = np.repeat(pages_of_one, len(chosen), axis=0)
        maps = enlarged(others[0](repeated, chosen), len(page)) if others else ()
        names = [model.labels[output] for output in chosen]
        yield ExplainedImage(
            path,
            page,
            probabilities={name: float(found[output]) for name, output in zip(names, chosen, strict=True)},
            attention=enlarged(attention_of(pages_of_one, chosen[:1]), len(page))[0],
            grad_cam=dict(zip(names, maps, strict=True)) if others else {},
        )
