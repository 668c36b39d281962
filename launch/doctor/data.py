"""Check FFCV, dataset folders, betons and files of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import InputError
from launch.doctor.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from datasets.sources.records import Records

SAMPLED = 12
"""Images of a dataset that are decoded."""
DUPLICATES_FIX = (
    "put all patients of an image into one split with --manifest, or take one copy out of the tables; convert again"
)
PATIENTS_FIX = "split by patient ('cxr split' does), and convert again with the new --manifest"


def check_ffcv_here() -> Iterator[Finding]:
    """FFCV on a beton of four images, and numba's cache of kernels."""
    from datasets.loading.check_ffcv import check_ffcv

    fix = "make setup builds FFCV anew"
    try:
        facts = check_ffcv()
    except (InputError, ImportError, OSError, RuntimeError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        yield fail("ffcv", f"a beton of four images cannot be written and read: {line}", fix)
        return
    if facts.same_pixels:
        yield ok("ffcv", f"FFCV {facts.version} wrote and read a beton")
    else:
        yield fail("ffcv", f"FFCV {facts.version} read other pixels than were written", fix)
    fix = "set NUMBA_CACHE_DIR to a folder of your own; without it every start compiles for a minute"
    if facts.cache_writable and "cxr-harness-numba-" in str(facts.kernel_cache):
        what = f"neither the package's nor the home folder can be written; kernels are kept in {facts.kernel_cache}"
        yield warn("numba", what, fix.replace("without it", "once that is emptied,"))
    elif facts.cache_writable:
        yield ok("numba", f"compiled kernels are kept in {facts.kernel_cache}")
    else:
        yield warn("numba", f"{facts.kernel_cache} cannot be written", fix)


def check_roots(roots: dict[str, Path]) -> Iterator[Finding]:
    """Each dataset as its owner distributes it: tables, files, a few images."""
    from datasets.sources.records import read_records

    for dataset, root in roots.items():
        area = f"root {dataset}"
        try:
            records = read_records(dataset, root)
        except (InputError, OSError) as error:
            yield fail(area, str(error), f"give the folder that holds {dataset} as it was downloaded")
            continue
        tables = ", ".join(f"{table.name} {table.num_rows:,} rows" for table in records.tables)
        made_up = "; made-up images" if records.phantom else ""
        patients = records.frame["patient"].nunique()
        yield ok(area, f"{len(records.frame):,} images of {patients:,} patients ({tables}){made_up}")
        refused = records.rejects
        for reason, count in refused["reason"].value_counts().items():
            first = f"{refused['path'].iat[0]}: {refused['reason'].iat[0]}"
            what = f"{count:,} rows cannot be used: {reason} (the first of all: {first})"
            yield warn(area, what, "fetch these files again; 'cxr split' lists every row; convert leaves them out")
        listed = records.frame.loc[records.frame["official_split"] != "", ["patient", "official_split"]]
        patients_listed = listed.drop_duplicates()["patient"]
        leaks = sorted(patients_listed[patients_listed.duplicated()].unique())
        if leaks:
            what = f"{len(leaks):,} patients are in two of the dataset's own splits, such as {', '.join(leaks[:3])}"
            yield warn(area, what, "convert with --split random, which splits by patient")
        yield from _check_images(area, records)


def _check_images(area: str, records: Records) -> Iterator[Finding]:
    """Decode a few images, spread over the dataset; those that perhaps show something else come first."""
    import numpy as np

    from datasets.images import ImageError
    from datasets.images.decode import decode_with_warnings

    count, undecodable = len(records.frame), list[Finding]()
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLED, count)).astype(int))
    for path in (records.root / name for name in records.frame["path"].iloc[chosen]):
        try:
            for told in decode_with_warnings(path)[1]:
                yield warn(area, f"{path}: {told}", "look at the image; convert names all such images")
        except (ImageError, OSError) as error:
            fix = "fetch the file again; convert leaves it out and lists it"
            undecodable.append(warn(area, f"{path}: {error}", fix))
    yield from undecodable


def check_betons(folder: Path) -> Iterator[Finding]:
    """Every beton in a folder: whole, its companions there, no patient or image in two splits."""
    from datasets.beton.reader import Beton
    from datasets.splits.leaks import leaks_between_splits

    betons = sorted(folder.glob("*.beton")) if folder.is_dir() else []
    if not betons:
        yield ok("betons", f"none in {folder}; 'cxr convert' makes them")
    for path in betons:
        area = f"beton {path.name}"
        try:
            beton = Beton.open(path)
            leaks = leaks_between_splits(beton)
        except InputError as error:
            yield fail(area, str(error), "convert the dataset again, or copy all three files of the beton")
            continue
        sidecar = beton.sidecar
        sizes = ", ".join(f"{name} {count:,}" for name, count in sidecar.splits.items())
        made_up = ", made-up images" if sidecar.settings.get("phantom") else ""
        yield ok(area, f"{sidecar.num_samples:,} images of {sidecar.image_size} px ({sizes}){made_up}")
        for name in ("train", "validation", "test"):
            if not sidecar.splits.get(name):
                yield warn(area, f"no image in split {name}", "convert with another split; training needs all three")
        for leak in leaks:
            fix = PATIENTS_FIX if leak.kind == "patients" else DUPLICATES_FIX
            yield (warn if leak.blank else fail)(area, f"{leak}{' (blank)' if leak.blank else ''}", fix)


def check_weights(imagenet: Path | None, xrv: Iterable[Path]) -> Iterator[Finding]:
    """torchvision's ImageNet file and torchxrayvision's, as far as they were given."""
    from harness.weights.imagenet import read_imagenet
    from harness.weights.xrv import xrv_hash

    try:
        if imagenet is not None:
            yield ok("imagenet weights", read_imagenet(imagenet).origin)
    except InputError as error:
        yield fail("imagenet weights", str(error), "fetch torchvision's densenet121 file again")
    for path in xrv:
        try:
            yield ok("xrv weights", f"{path}: a torchxrayvision DenseNet-121, sha256 = {xrv_hash(path)}")
        except InputError as error:
            yield fail("xrv weights", str(error), "give a file of torchxrayvision's densenet121-res224 weights")
