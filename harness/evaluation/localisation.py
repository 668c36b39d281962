"""Score maps against boxes around findings: the pointing game, and intersection over union.

In the pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2018, here without a margin) a
map hits where its maximum lies in a box. Both scores are of a map enlarged to the page by bilinear interpolation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.images.resize import Resize, fit_box
from datasets.sources.boxes import FindingBox
from datasets.sources.labels import finding

BATCH_SIZE = 32
Maps = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""Makes maps (N, h, w) of images (N, S, S) uint8, each for one output of the network."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class BoxedFinding:
    """One finding of one image, with all its boxes."""

    index: int
    """The image's in the beton."""
    label: str
    output: int
    """The label's place among the network's outputs."""
    boxes: tuple[Box, ...]
    """On the page: left, top, right, bottom in pixels."""


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """Scores of the maps of one finding, or means over findings; all in 0..1."""

    images: int
    pointing: float
    """Share of the images whose map has its maximum in a box."""
    iou: float
    """Mean intersection over union of the boxes with what is above a share of the map's maximum."""
    chance: float
    """Mean share of the page that the boxes cover: how often a random point lies in one."""


def boxed_findings(
    boxes: Sequence[FindingBox], beton: Beton, split: str, labels: Sequence[str], *, resize: Resize, side: int
) -> list[BoxedFinding]:
    """The boxes of the images of a split, by image and label, on the beton's pages; by label, then by image.

    Boxes of other images, of labels that the network lacks and outside of the page are left out. ``side`` is that of
    the square images in whose pixels the boxes are.

    Raises:
        InputError: when none is left.
    """
    samples = beton.samples.iloc[beton.indices(split)]
    rows = dict(zip(samples["name"].astype(str), samples["index"], strict=True))
    outputs = {finding(label): output for output, label in enumerate(labels)}
    grouped = defaultdict[tuple[int, int], list[Box]](list)
    for item in boxes:
        place = fit_box(item.box, side, side, beton.image_size, resize)
        known = item.name in rows and finding(item.label) in outputs
        if known and place[0] < place[2] and place[1] < place[3]:
            grouped[outputs[finding(item.label)], int(rows[item.name])].append(place)
    if not grouped:
        raise InputError(
            f"{beton.path}: none of the {len(boxes):,} boxes is of an image of split {split} and of a label of the "
            f"network ({', '.join(labels)})"
        )
    return [
        BoxedFinding(index=index, label=labels[output], output=output, boxes=tuple(grouped[output, index]))
        for output, index in sorted(grouped)
    ]


def localise(
    findings: Sequence[BoxedFinding], beton: Beton, maps: Maps, *, threshold: float
) -> dict[str, Localisation]:
    """Score ``maps`` by label, in the order of the findings; ``threshold`` is the share of a map's maximum."""
    scored = defaultdict[str, list[tuple[float, float, float]]](list)
    for batch in _batches(findings):
        found = maps(beton.gather(np.array([item.index for item in batch])), [item.output for item in batch])
        for item, page in zip(batch, enlarged(found, beton.image_size), strict=True):
            mask = box_mask(item.boxes, beton.image_size)
            scored[item.label].append((pointing(page, mask), iou(page, mask, threshold), float(mask.mean())))
    return {label: _mean(len(values), np.array(values).mean(axis=0)) for label, values in scored.items()}


def mean_over_labels(by_label: Mapping[str, Localisation]) -> Localisation:
    """The unweighted mean over labels, of all images together."""
    values = [(item.pointing, item.iou, item.chance) for item in by_label.values()]
    return _mean(sum(item.images for item in by_label.values()), np.array(values).mean(axis=0))


def _mean(images: int, values: np.ndarray) -> Localisation:
    hits, overlap, chance = map(float, values)
    return Localisation(images=images, pointing=hits, iou=overlap, chance=chance)


def _batches(findings: Sequence[BoxedFinding]) -> Iterator[Sequence[BoxedFinding]]:
    for start in range(0, len(findings), BATCH_SIZE):
        yield findings[start : start + BATCH_SIZE]


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, h, w) as (N, size, size), by bilinear interpolation."""
    planes = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    found: Any = F.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()
    return np.asarray(found)


def box_mask(boxes: Sequence[Box], size: int) -> np.ndarray:
    """(size, size) bool: pixels whose middle lies in a box; of a box between two middles the pixel it lies in."""
    mask = np.zeros((size, size), bool)
    for left, top, right, bottom in boxes:
        columns, rows = (_pixels(low, high, size) for low, high in ((left, right), (top, bottom)))
        mask[rows, columns] = True
    return mask


def _pixels(low: float, high: float, size: int) -> slice:
    start, stop = round(low), round(high)
    start = min(start, size - 1)
    return slice(start, max(stop, start + 1))


def pointing(page: np.ndarray, mask: np.ndarray) -> float:
    """1 where the maximum of a map (S, S) lies in the mask, else 0; of several maxima their share in it."""
    return float(mask[page == page.max()].mean())


def iou(page: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    """Intersection over union of the mask with the pixels of at least ``threshold`` times the maximum; 0 of none."""
    highest = float(page.max())
    seen = page >= threshold * highest if highest > 0 else np.zeros_like(mask)
    return float((seen & mask).sum() / (seen | mask).sum())
