"""Verify a beton: name every part of its three files that is not what was written."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

import numpy as np

from datasets.beton.content_hash import content_hash, count_labels, count_splits
from datasets.beton.format import METADATA_START
from datasets.beton.mixed import MixedBeton
from datasets.beton.reader import Beton
from datasets.beton.sidecar import samples_path
from datasets.errors import InputError
from datasets.files import sha256_file
from datasets.progress import progress
from datasets.sources.labels import IGNORED, POSITIVE


def verify(beton: Beton) -> list[str]:
    """Read every byte of the three files and name what differs from what was written; empty when nothing does.

    Each page is compared with its checksum, the gaps with zeros, head and table with what they must be, and content
    hash and counts with the sidecar. Of several betons that are read as one, each is verified.
    """
    if isinstance(beton, MixedBeton):
        return [f"{part.path.name}: {problem}" for part in beton.parts for problem in verify(part)]
    if sha256_file(samples_path(beton.path)) != beton.sidecar.file.samples_sha256:
        return [f"{samples_path(beton.path).name}: the samples table was altered"]
    try:
        samples, targets = beton.samples, beton.targets
    except InputError as error:
        return [str(error)]
    problems = _check_frame(beton, targets)
    digests: list[bytes] = []
    for index, (page, gap, crc32) in enumerate(_images(beton)):
        digests.append(hashlib.sha256(page).digest())
        if zlib.crc32(page) != crc32:
            problems.append(f"image {index} ({samples['path'].iat[index]}): its pixels were altered")
        if gap.strip(b"\0"):
            problems.append(f"the gap behind image {index} is not empty")
    found = content_hash(samples, targets, digests, labels=beton.labels, image_size=beton.image_size)
    if found != beton.sidecar.content_hash and not problems:
        problems.append(f"content hash {found} is not the sidecar's {beton.sidecar.content_hash}")
    counts = [count_labels(targets, beton.labels, value) for value in (POSITIVE, IGNORED)]
    sidecar = beton.sidecar
    if [count_splits(samples["split"]), *counts] != [sidecar.splits, sidecar.positives, sidecar.ignored]:
        problems.append("the sidecar's counts of labels or splits differ from the samples'")
    return problems


def _images(beton: Beton) -> Iterator[tuple[bytes, bytes, int]]:
    """The stored bytes of each image, those between it and the next one, and its checksum; read, not mapped.

    A disk that fails then raises, where it would end a process that has the file mapped.
    """
    layout, num = beton.final_layout, beton.num_samples
    begins, sizes = layout.offsets(num).tolist(), layout.sizes(num).tolist()
    sums = beton.samples["crc32"].tolist()
    with beton.path.open("rb") as handle, progress("verifying", num) as advance:
        handle.seek(layout.data_start)
        for begin, size, end, crc32 in zip(begins, sizes, [*begins[1:], layout.data_end(num)], sums, strict=True):
            yield handle.read(size), handle.read(end - begin - size), crc32
            advance(1)


def _check_frame(beton: Beton, targets: np.ndarray) -> list[str]:
    """Compare everything around the pages with what the layout says."""
    layout, problems = beton.final_layout, list[str]()
    head = layout.head(targets)
    with beton.path.open("rb") as handle:
        found = handle.read(layout.data_start)
        handle.seek(layout.data_end(beton.num_samples))
        tail = handle.read()
    if found[:METADATA_START] != head[:METADATA_START]:
        problems.append("the header was altered")
    if found[METADATA_START : len(head)] != head[METADATA_START:]:
        problems.append("offsets or indices in the metadata were altered")
    if found[len(head) :].strip(b"\0"):
        problems.append("the gap before the images is not empty")
    if tail != layout.tail(beton.num_samples):
        problems.append("the allocation table was altered")
    return problems
