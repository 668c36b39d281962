"""Merge betons of one dataset, or of several, into one: pages are copied as stored, nothing is decoded anew."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.beton.mixed import Joined, join, refuse_unlike
from datasets.beton.reader import Beton
from datasets.beton.sidecar import OF_A_BETON, Sidecar, is_uncertain_column, uncertain_column
from datasets.beton.writer import BetonWriter
from datasets.convert.convert import existing_beton
from datasets.convert.protocol import DECODER, Page
from datasets.convert.publish import publish, settle
from datasets.convert.request import ConvertOptions, Request
from datasets.errors import InputError
from datasets.files import disk_full_as_input_error, output_file
from datasets.progress import progress
from datasets.sources.records import Records
from datasets.sources.registry import DATASETS, WELL_FORMED
from datasets.sources.rows import REJECT_COLUMNS
from datasets.sources.tables import SourceTable
from datasets.splits.split import subset_ranks

logger = logging.getLogger(__name__)


def merge(
    paths: Sequence[Path],
    out: Path,
    *,
    name: str | None = None,
    subset_seed: int | None = None,
    overwrite: bool = False,
) -> Sidecar:
    """Write one beton with the images of several, sorted by path as in a conversion of all of them at once.

    Splits stay as they are, but for patients whom the betons put in different ones: they take the split of the first,
    so that last year's test patients stay test patients when they come back. Subsets are ranked anew over all
    training images, by the seed that the betons record.

    With ``name`` they may be of several datasets. Labels are matched by name, and one that a dataset lacks is ignored
    in its images. Paths, patients and studies begin with their dataset's name, so that equal numbers stay apart;
    datasets that hold the same images, such as ChestX-ray14 and its sample, share theirs.

    Args:
        paths: two or more betons, converted alike.
        out: path of the beton; its companions lie beside it.
        name: the new dataset's; None where all betons are of one dataset, whose name is kept.
        subset_seed: seed of the subsets, where the betons record none (a manifest's) or different ones.
        overwrite: replace ``out`` even if it is whole.

    Raises:
        InputError: betons that differ in what must be equal, or an image that is in two of them.
    """
    out = output_file(Path(out))
    if out.resolve() in {Path(path).resolve() for path in paths}:
        raise InputError(f"--out {out}: is itself one of the betons that are merged; choose another name")
    betons = [Beton.open(path) for path in paths]
    if len(betons) < 2:
        raise InputError("merging needs two betons or more")
    if name is not None and (name in DATASETS or not WELL_FORMED.fullmatch(name)):
        raise InputError(f"--name {name!r}: expected a new name of up to 64 letters, digits, '.', '_' and '-'")
    settings = _common_settings(betons, subset_seed, mixed=name is not None)
    joined = join(betons, mixed=name is not None)
    _warn_of_equal_pixels(joined.samples)
    request = _request(betons, name, joined, settings, overwrite=overwrite)
    settle(out)
    found = None if overwrite else existing_beton(out, request)
    if found is not None:
        return found.sidecar
    with (
        disk_full_as_input_error(out),
        BetonWriter(out, request.layout, key=request.hash, stamp=request.stamp) as writer,
    ):
        _copy_pages(betons, joined, writer)
        return publish(request, writer)


def _common_settings(betons: Sequence[Beton], subset_seed: int | None, *, mixed: bool) -> dict[str, Any]:
    """Settings that all betons share, with how the merged subsets are ranked."""
    refuse_unlike(betons, mixed=mixed)
    first = betons[0]
    if first.sidecar.settings.get("decoder") != DECODER:
        raise InputError(f"{first.path}: decoded by an older version of this program; convert the dataset again")
    seeds = {beton.sidecar.settings.get("subset_seed") for beton in betons}
    if subset_seed is None:
        if len(seeds) > 1 or None in seeds:
            raise InputError(
                f"{first.path} and the others record no common seed of their subsets; give it as --subset-seed"
            )
        (subset_seed,) = seeds
    splits = [{key: beton.sidecar.settings.get(key) for key in ("split", "manifest")} for beton in betons]
    how = splits[0] if all(split == splits[0] for split in splits) else {"split": {"kind": "merged"}}
    return {key: value for key, value in how.items() if value is not None} | {"subset_seed": subset_seed}


def _warn_of_equal_pixels(samples: pd.DataFrame) -> None:
    """Warn of images under several names that have the same pixels, to go by their checksums, in different splits."""
    torn = samples.groupby("crc32")["split"].transform("nunique") > 1
    if torn.any():
        logger.warning(
            "%s images have the pixels of one in another split, such as %s; 'cxr doctor' tells which are the same",
            f"{int(torn.sum()):,}",
            samples["name"][torn].iloc[0],
        )


def _request(
    betons: Sequence[Beton],
    name: str | None,
    joined: Joined,
    settings: dict[str, Any],
    *,
    overwrite: bool,
) -> Request:
    """The request that a conversion of all images at once would have made."""
    first = betons[0]
    stored = first.sidecar.settings
    labels, samples = joined.labels, joined.samples
    tables = {SourceTable(**table): None for beton in betons for table in beton.sidecar.source_tables}
    dropped = Counter[str]()
    for beton in betons:
        dropped.update(beton.sidecar.dropped)
    rejects = [reject for beton in betons for reject in beton.sidecar.rejects]
    marks = samples.reindex(columns=[uncertain_column(label) for label in labels]).eq(True).to_numpy()
    frame = samples.drop(columns=[name for name in samples if name in OF_A_BETON or is_uncertain_column(name)])
    splits = samples["split"].to_numpy(dtype=str)
    records = Records(
        dataset=name or first.sidecar.dataset,
        root=first.path.parent,
        labels=labels,
        frame=frame,
        targets=joined.targets,
        tables=tuple(tables),
        rejects=pd.DataFrame(rejects, columns=list(REJECT_COLUMNS)).fillna(""),
        dropped=dict(dropped),
        uncertain=stored["uncertain"],
        views=stored["views"],
        uncertain_at=marks if marks.any() else None,
        phantom=stored.get("phantom", False),
        title=stored.get("title", "") if name is None else "",
    )
    options = ConvertOptions(
        size=first.image_size,
        resize=stored["resize"],
        large_jpeg=stored["large_jpeg"],
        encoding=first.encoding,
        quality=stored.get("quality", ConvertOptions.quality),
        overwrite=overwrite,
        split_settings=settings,
    )
    return Request(records, splits, subset_ranks(samples["name"], splits, settings["subset_seed"]), options)


def _copy_pages(betons: Sequence[Beton], joined: Joined, writer: BetonWriter) -> None:
    """Copy what the writer does not have yet, each page compared with its checksum."""
    crc32, order = joined.samples["crc32"].to_numpy(), joined.order
    places = [
        (number, index, int(begin), int(size))
        for number, beton in enumerate(betons)
        for layout, num in [(beton.final_layout, beton.num_samples)]
        for index, (begin, size) in enumerate(zip(layout.offsets(num), layout.sizes(num), strict=True))
    ]
    with ExitStack() as opened, progress("merging", len(order) - writer.next) as advance:
        files = [opened.enter_context(beton.path.open("rb")) for beton in betons]
        for position in range(writer.next, len(order)):
            number, index, begin, size = places[order[position]]
            files[number].seek(begin)
            stored = files[number].read(size)
            if zlib.crc32(stored) != crc32[position]:
                raise InputError(f"{betons[number].path}: the pixels of image {index} were altered; convert it again")
            writer.add(Page(stored, int(crc32[position]), hashlib.sha256(stored).digest()))
            advance(1)
    writer.flush()
