"""Keep what was computed of a run's files in the report's folder, until these files change."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from datasets.files import replacing

T = TypeVar("T")
GO_ON = "re-run the same command to continue, or give it more --bootstrap-seconds"
WITH_ARRAYS = ConfigDict(arbitrary_types_allowed=True)
"""``__pydantic_config__`` of a dataclass that is kept."""


def key_of(files: Iterable[Path], *settings: object) -> str:
    """What a result rests on: settings as JSON values, and size and time of change of the files that are there."""
    stats = {path.name: path.stat() for path in files if path.exists()}
    return json.dumps([*settings, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]])


def keep(path: Path, key: str, result: object) -> None:
    """Write a dataclass of JSON values, arrays, and tuples of such dataclasses."""
    arrays: list[np.ndarray] = []

    def as_plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {"array": len(arrays) - 1}
        if dataclasses.is_dataclass(value):
            return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [as_plain(item) for item in value] if isinstance(value, tuple) else value

    document = json.dumps(as_plain(result))
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, *arrays, key=key, result=document)


def kept(path: Path, key: str, kind: type[T]) -> T | None:
    """What was kept under this very key; None when nothing was, or nothing of use is left."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            document = json.loads(
                str(file["result"]),
                object_hook=lambda found: file[f"arr_{found['array']}"] if found.keys() == {"array"} else found,
            )
            return TypeAdapter(kind).validate_python(document)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
