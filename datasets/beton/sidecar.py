"""What a beton says of itself: a JSON file beside it, written last, read without opening the beton."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.beton.format import Encoding
from datasets.errors import InputError
from datasets.files import KnownKeysOnly, parse_as, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_COLUMNS = ("path", "name", "patient", "study", "view", "sex", "age")
OF_A_BETON = ("index", "split", "subset_rank", "crc32")
"""Columns of a samples table that say where an image stands in that beton; further ones are attributes."""
UNCERTAIN_PREFIX = "uncertain:"
NO_ATTRIBUTES = ("index", "path", "name", "patient", "study", "split", "subset_rank", "crc32")
"""Columns of the samples table that tell images apart and no groups of them."""
MAX_SIDE = 65_535
"""Of a page, in pixels."""
FORMAT_VERSION = 1
"""Raised when a beton or its companions change in a way that older code would misread."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Lengths and checksums that tie the three files together."""

    bytes: int
    """Length of the beton."""
    page_size: int
    """FFCV's page size in bytes."""
    head_crc32: int
    """CRC-32 of the beton up to the end of the metadata, labels included."""
    samples_sha256: str
    """SHA-256 of the samples table."""


@dataclass(frozen=True, kw_only=True)
class Sidecar(KnownKeysOnly):
    """Counts, names, hashes and provenance of a beton."""

    format_version: int
    dataset: str
    image_size: int
    """Side of the square pages in pixels."""
    num_samples: int
    num_patients: int
    labels: tuple[str, ...]
    positives: dict[str, int]
    """Samples with label = 1, by label."""
    ignored: dict[str, int]
    """Samples whose label is left out of the loss, by label."""
    splits: dict[str, int]
    """Samples by split."""
    content_hash: str
    """``datasets.beton.content_hash.content_hash``: of what is said, not of how it is laid out."""
    request_hash: str
    """Of settings, tables and candidates; equal requests give equal betons."""
    file: FileFacts
    source_tables: list[dict[str, Any]]
    settings: dict[str, Any]
    dropped: dict[str, int]
    """Rows left out on purpose, by reason."""
    rejects: list[dict[str, str]]
    """Images left out because something is wrong with them: path and reason, of a table's row also table and row."""
    versions: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse what no header of a file can hold."""
        if not 1 <= self.image_size <= MAX_SIDE:
            raise ValueError(f"image_size {self.image_size}: expected 1 to {MAX_SIDE:,}")

    @property
    def encoding(self) -> Encoding:
        """What each page is stored as."""
        return "jpeg" if self.settings.get("encoding") == "jpeg" else "raw"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def sidecar_path(beton: Path) -> Path:
    """``X.beton.json`` beside ``X.beton``."""
    return beton.with_name(f"{beton.name}.json")


def samples_path(beton: Path) -> Path:
    """``X.samples.parquet`` beside ``X.beton``."""
    return beton.with_suffix(".samples.parquet")


def uncertain_column(label: str) -> str:
    """Column of the samples table that tells at which images the tables call a label uncertain."""
    return f"{UNCERTAIN_PREFIX}{label}"


def is_uncertain_column(name: object) -> bool:
    """Whether a column of the samples table is one of these."""
    return str(name).startswith(UNCERTAIN_PREFIX)


def attribute_columns(samples: pd.DataFrame) -> list[str]:
    """Columns of the samples table that tell groups of images: view, sex, age, and what the dataset has besides."""
    return [str(name) for name in samples if name not in NO_ATTRIBUTES and not is_uncertain_column(name)]


def write_sidecar(beton: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of a beton, with a checksum over itself."""
    values = sidecar.to_json()
    write_json(sidecar_path(beton), {**values, "checksum": _checksum(values)})


def read_sidecar(beton: Path) -> Sidecar:
    """Read and check the sidecar of a beton.

    Raises:
        InputError: if it is absent, of another version, altered, or lacks a key.
    """
    path = sidecar_path(beton)
    if not path.is_file():
        raise InputError(f"{path}: no such file; {beton.name} is not finished or was copied alone: convert it again")
    values = read_json(path)
    if not isinstance(values, dict) or "format_version" not in values:
        raise InputError(f"{path}: not the sidecar of a beton")
    if values["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {values['format_version']}, but this program reads {FORMAT_VERSION}; "
            "convert the dataset again"
        )
    if values.pop("checksum", None) != _checksum(values):
        raise InputError(f"{path}: altered after it was written (its checksum differs); convert the dataset again")
    return parse_as(Sidecar, values, where=str(path), advice="; convert the dataset again")


def _checksum(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
