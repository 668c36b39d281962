"""Write files whole or not at all, read JSON, and report a full disk in one clear line."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from datasets.errors import InputError

T = TypeVar("T")

MAX_DIGITS = 30
"""Longer numbers in JSON belong to no file of ours, and end in overflows far from here."""

DISK_FULL_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the largest file size allowed here is reached",
}


def regular(path: Path) -> Path:
    """``path``, once it is known to be a regular file: of a FIFO or a device no end may ever come.

    Raises:
        InputError: when it is absent or something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'not a regular file, so it cannot be read' if path.exists() else 'no such file'}")
    return path


def output_file(path: Path) -> Path:
    """The file that writing to ``path`` makes or replaces: links are followed, so that they stay.

    Raises:
        InputError: when it is a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file, so it cannot be replaced; give another path")
    return Path(os.path.realpath(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path``; on success flush it to disk and rename it to ``path``, else remove it."""
    path = output_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the process's number: two containers on two nodes may have the same.
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove what processes left that were killed while they wrote ``path``; no other may be writing it now."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees either the old file or the new one whole.

    What is no character, such as a part of a file name that is not UTF-8, is written as ``\\udc80``.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """``value`` as indented JSON; NaN is refused since JSON has none."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_file(path: Path) -> bytes:
    """Read a file's bytes; one clear error when it is absent or cannot be read."""
    return _read(regular(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_json(path: Path, *, unique_keys: bool = False) -> Any:
    """Read a JSON file; one clear error when it is absent, not JSON or, with ``unique_keys``, gives a key twice."""
    return _parsed(path, read_file(path), _WITH_UNIQUE_KEYS if unique_keys else _DECODER)


def _parsed(path: Path, data: bytes, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except RecursionError:
        raise InputError(f"{path}: not a JSON file (nested too deep)") from None
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error})") from None


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} is given twice")
    return values


_DECODER = json.JSONDecoder(parse_int=_whole)
_WITH_UNIQUE_KEYS = json.JSONDecoder(parse_int=_whole, object_pairs_hook=_unique)


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark; ``what`` names it in messages.

    Raises:
        InputError: when it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{what} {path}: {(error.strerror or 'cannot be read').lower()}".lstrip()) from None
    except RecursionError:
        raise InputError(f"{path}: not a TOML file (nested too deep)") from None
    except ValueError as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object, or one clear error; empty when there is no such file."""
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError:
        is_regular = False
    value = _parsed(path, _read(path), _DECODER) if is_regular else read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


class KnownKeysOnly:
    """Base of dataclasses that are read from files: one with an unknown key is refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@cache
def _adapter(kind: Any) -> Any:
    """Return pydantic's checker of a dataclass, which takes 10 ms to make."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def parse_as(kind: type[T], values: Any, *, where: str, advice: str = "") -> T:
    """Check plain values against a dataclass and build it; ``where`` names their file in the error.

    Raises:
        InputError: for a key that is unknown or missing, or a value of another kind.
    """
    from pydantic import ValidationError

    try:
        checked: T = _adapter(cast(Any, kind)).validate_python(values)
        return checked
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "document"
        raise InputError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}{advice}") from None


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def disk_full_as_input_error(path: Path, kept: str = "what was written so far is kept") -> Iterator[None]:
    """Turn the errors of a disk that takes no more into one line; ``kept`` says what is left to resume from.

    Raises:
        InputError: if the block failed because the disk, the quota or the largest file size is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_REASONS:
            raise
        raise InputError(
            f"{path}: {DISK_FULL_REASONS[error.errno]}; {kept}: make room and run the same command again"
        ) from None
