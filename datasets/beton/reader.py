"""Open a beton, checked in constant time: labels, samples, targets, pages.

Nothing here imports FFCV, so planning, inspection and evaluation of predictions open a beton at once; nor pandas
until the samples are asked for, which a training does not do before its first step.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.beton.format import (
    ALLOCATION,
    DESCRIPTOR,
    FIELD_NAMES,
    HEADER,
    METADATA_START,
    VERSION,
    Encoding,
    Layout,
    descriptors,
    metadata_dtype,
)
from datasets.beton.sidecar import Sidecar, read_sidecar, samples_path, sidecar_path, uncertain_column
from datasets.errors import InputError
from datasets.files import regular
from datasets.sources.registry import parse_subset

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from datasets.beton.pages import PageProof, Pages

AGAIN = "convert the dataset again"


@dataclass(frozen=True, eq=False)
class Beton:
    """An FFCV file with its sidecar and samples table."""

    path: Path
    sidecar: Sidecar
    layout: Layout

    @classmethod
    def open(cls, path: Path) -> Beton:
        """Open a beton after checks whose cost does not grow with its size.

        Raises:
            InputError: if it is absent, foreign, unfinished, truncated, or its companions are absent or of another.
        """
        path = Path(path)
        if path.is_symlink() and not sidecar_path(path).exists():  # its companions lie where the link leads
            path = path.resolve()
        header = _read_header(path)
        sidecar = read_sidecar(path)
        num_samples = int(header["num_samples"])
        expected = descriptors(sidecar.image_size, len(sidecar.labels), sidecar.encoding).tobytes()
        with path.open("rb") as handle:
            handle.seek(HEADER.itemsize)
            if handle.read(len(expected)) != expected:
                raise InputError(f"{path}: its fields are not those that the sidecar describes; {AGAIN}")
        if num_samples != sidecar.num_samples or path.stat().st_size != sidecar.file.bytes:
            raise InputError(f"{path}: its sidecar is of another file ({sidecar.num_samples:,} samples); {AGAIN}")
        if not samples_path(path).is_file():
            raise InputError(f"{samples_path(path)}: no such file; it must lie beside {path.name}")
        return cls(path, sidecar, _read_layout(path, header, sidecar))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns of ``targets``."""
        return self.sidecar.labels

    @property
    def image_size(self) -> int:
        """Side of the square pages in pixels."""
        return self.sidecar.image_size

    @property
    def encoding(self) -> Encoding:
        """What a page is stored as: gray bytes, or a gray JPEG."""
        return self.sidecar.encoding

    @property
    def num_samples(self) -> int:
        """Number of images N."""
        return self.sidecar.num_samples

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Rows in index order: index, path, name, patient, study, view, split, subset_rank, crc32, sex, age, and what
        attributes the dataset has.

        Labels that the tables call uncertain somewhere have a column ``uncertain:LABEL`` besides.

        Raises:
            InputError: if the table's checksum differs from the sidecar's.
        """
        frame: pd.DataFrame = self._read_samples().to_pandas()
        return frame

    @cached_property
    def _splits(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The names of the splits, (N,) place of each sample's among them, and (N,) subset_rank.

        Handed to numpy by DLPack, since ``to_numpy`` of pyarrow imports pandas.
        """
        table = self._read_samples(["split", "subset_rank"]).combine_chunks()
        splits, ranks = (column.chunk(0) for column in table.columns)
        return splits.dictionary.to_pylist(), np.from_dlpack(splits.indices), np.from_dlpack(ranks)

    def _read_samples(self, columns: list[str] | None = None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = samples_path(self.path)
        try:
            table = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
        # Checked before it is parsed: what the parser makes of altered bytes is anyone's guess.
        if hashlib.sha256(table).hexdigest() != self.sidecar.file.samples_sha256:
            raise InputError(f"{path}: does not belong to {self.path.name} or was altered; {AGAIN}")
        # Not pq.read_table, which imports datasets and with them pandas. Not with Arrow's threads: one of them may
        # let go of ``table`` as the interpreter ends, and the process is then aborted.
        encoded = ["split"] if columns else None
        with pq.ParquetFile(pa.BufferReader(table), read_dictionary=encoded) as parquet:
            return parquet.read(columns=columns, use_threads=False)

    def count_patients(self, indices: np.ndarray) -> int:
        """Number of patients of the images at ``indices``, without importing pandas."""
        import pyarrow.compute as pc

        return int(pc.count_distinct(self._read_samples(["patient"])["patient"].take(indices)).as_py())

    @cached_property
    def metadata(self) -> np.ndarray:
        """Rows (N,) of place, labels and index.

        Raises:
            InputError: if their checksum differs from the sidecar's, or a place is not where the layout has it.
        """
        dtype = metadata_dtype(len(self.labels), self.encoding)
        with self.path.open("rb") as handle:
            head = handle.read(METADATA_START + self.num_samples * dtype.itemsize)
        if zlib.crc32(head) != self.sidecar.file.head_crc32:
            raise InputError(f"{self.path}: labels or offsets were altered (their checksum differs); {AGAIN}")
        rows = np.frombuffer(head, dtype=dtype, offset=METADATA_START)
        if not self._places_are_right(rows["image"]):
            raise InputError(f"{self.path}: an image's offset or length contradicts the file's layout; {AGAIN}")
        return rows

    def _places_are_right(self, places: np.ndarray) -> bool:
        """Whether offsets and lengths are those of the layout, and with them within the file, for every image."""
        layout, starts = self.layout, places
        if self.encoding == "jpeg":
            starts, lengths = places["ptr"], places["size"]
            if lengths.min() < 1 or lengths.max() > layout.block_bytes:
                return False
            layout = layout.with_lengths(lengths)
        end = layout.file_bytes(self.num_samples)
        return end == self.sidecar.file.bytes and np.array_equal(starts, layout.offsets(self.num_samples))

    @cached_property
    def targets(self) -> np.ndarray:
        """Labels (N, L) uint8: 0, 1, or 255 where the label is left out of the loss."""
        return np.ascontiguousarray(self.metadata["labels"])

    @cached_property
    def uncertain(self) -> np.ndarray:
        """(N, L) bool: where the tables call a label uncertain; nowhere in a beton converted before that was kept."""
        samples, marks = self.samples, np.zeros(self.targets.shape, dtype=bool)
        for column, name in enumerate(map(uncertain_column, self.labels)):
            if name in samples:
                marks[:, column] = samples[name]
        return marks

    @cached_property
    def final_layout(self) -> Layout:
        """The layout with the places of all images, which for JPEGs the metadata tells."""
        return self.layout if self.encoding == "raw" else self.layout.with_lengths(self.metadata["image"]["size"])

    def open_pages(self, *, checked: bool = True) -> Pages:
        """The pages, mapped anew; those of a beton are compared with their checksums once, unless not ``checked``.

        Raises:
            InputError: when the path leads to another file by now.
        """
        from datasets.beton.pages import open_pages

        pages = open_pages(self.path, self.final_layout, self.sidecar)
        return replace(pages, proof=self._proof) if checked else pages

    @cached_property
    def _proof(self) -> PageProof:
        from datasets.beton.pages import PageProof

        (crc32,) = self._read_samples(["crc32"]).combine_chunks().columns
        found = np.from_dlpack(crc32.chunk(0))
        return PageProof(self.path, found, lambda sample: str(self.samples["path"].iat[sample]))

    @cached_property
    def _pages(self) -> Pages:
        return self.open_pages()

    def page(self, index: int) -> np.ndarray:
        """Image ``index`` (S, S) uint8, read-only."""
        if not 0 <= index < self.num_samples:
            raise IndexError(f"sample {index} of {self.num_samples}")
        flat, (offset,) = self._pages.read(np.array([index]))
        page: np.ndarray = flat[int(offset) :][: self.image_size**2].reshape(self.image_size, self.image_size)
        return page

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Copy of the images at ``indices`` (B,), as (B, S, S) uint8."""
        images = np.empty((len(indices), self.image_size, self.image_size), dtype=np.uint8)
        for image, index in zip(images, indices.tolist(), strict=True):
            image[:] = self.page(index)
        return images

    def indices(self, split: str, subset: str = "full") -> np.ndarray:
        """Indices (n,) int64, ascending, of a split; of train also a nested subset: ``1k``, ``5k``, ``200``.

        Raises:
            InputError: for an unknown or empty split, or a subset larger than the train split.
        """
        names, splits, ranks = self._splits
        found = np.flatnonzero(splits == names.index(split)) if split in names else np.empty(0, np.int64)
        if not len(found):
            known = ", ".join(f"{name} ({count:,})" for name, count in self.sidecar.splits.items())
            raise InputError(f"{self.path}: no samples in split {split!r}; there are {known}")
        if split != "train" and subset != "full":
            raise InputError(f"{self.path}: subset {subset} of split {split}, which has no subsets; choose full")
        return nested(found, ranks, subset, self.path)


def nested(found: np.ndarray, ranks: np.ndarray, subset: str, path: Path) -> np.ndarray:
    """Those of the train images ``found`` (n,) that are in a subset, by the (N,) ranks of all images.

    Raises:
        InputError: for an unknown subset, or one that is larger.
    """
    count = parse_subset(subset)
    if count is None:
        return found
    if count > len(found):
        had = f"subset {subset} of split train, which has {len(found):,} images"
        raise InputError(f"{path}: {had}; choose a smaller number, or full")
    return found[np.sort(np.argsort(ranks[found], kind="stable")[:count])]


def _read_header(path: Path) -> np.void:
    """The header of an FFCV file that is whole as far as its length says."""
    try:
        with (regular(path) if path.exists() else path).open("rb") as handle:
            start = handle.read(METADATA_START)
        file_bytes = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it with 'cxr convert'") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(start) < METADATA_START:
        raise InputError(f"{path}: not a beton ({file_bytes} bytes) or truncated; {AGAIN}")
    header: np.void = np.frombuffer(start, dtype=HEADER, count=1)[0]
    names = np.frombuffer(start, dtype=DESCRIPTOR, offset=HEADER.itemsize)["name"]
    found = tuple(name.tobytes().rstrip(b"\0") for name in names)
    if header["version"] != VERSION or found != tuple(name.encode() for name in FIELD_NAMES):
        raise InputError(f"{path}: not a beton of this program (an FFCV file with {', '.join(FIELD_NAMES)})")
    table_start, table_bytes = int(header["alloc_table_ptr"]), ALLOCATION.itemsize * int(header["num_samples"])
    if table_start == 0:
        raise InputError(f"{path}: its writing was never finished; {AGAIN}")
    if table_start + table_bytes != file_bytes:
        raise InputError(
            f"{path}: {file_bytes:,} bytes long, not {table_start + table_bytes:,}; truncated or altered: {AGAIN}"
        )
    return header


def _read_layout(path: Path, header: np.void, sidecar: Sidecar) -> Layout:
    num_samples, num_labels = sidecar.num_samples, len(sidecar.labels)
    encoding, data_end = sidecar.encoding, int(header["alloc_table_ptr"])
    size = sidecar.image_size
    least = Layout.for_capacity(num_samples, image_size=size, num_labels=num_labels, encoding=encoding)
    first = np.fromfile(path, dtype=metadata_dtype(num_labels, encoding), count=1, offset=METADATA_START)["image"][0]
    data_start = int(first if encoding == "raw" else first["ptr"])
    layout = Layout(image_size=size, num_labels=num_labels, data_start=data_start, encoding=encoding)
    misplaced = data_start < least.data_start or data_start % layout.block_bytes != 0
    if encoding == "raw":
        misplaced |= layout.data_end(num_samples) != data_end
    else:
        misplaced |= data_end <= data_start or data_end % layout.block_bytes != 0
    if misplaced or header["page_size"] != layout.block_bytes:
        raise InputError(f"{path}: its header contradicts its metadata; {AGAIN}")
    return layout
