"""Checkpoint folders that are whole or absent, sealed with hashes, and what is wrong with a damaged one.

A sealed folder holds ``COMPLETE``: whose checkpoint it is, and size and SHA-256 of every other file, written last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from datasets.files import regular, sha256_file, sync

COMPLETE_NAME = "COMPLETE"


class UnusableCheckpointError(Exception):
    """A checkpoint is torn, changed or another run's; the message says which, without its path."""


@contextmanager
def replacing_folder(folder: Path, *, keep_old: bool = False) -> Iterator[Path]:
    """Yield a new folder beside ``folder``; on success it takes its place, and with ``keep_old`` the old one stays.

    A folder cannot be renamed over a full one, so the old one steps aside first: a process killed at any moment
    leaves a whole folder under one of the two names that ``folders`` knows.
    """
    partial, old = _beside(folder, "partial"), _beside(folder, "old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.iterdir():
            sync(file)
        sync(partial)
    except Exception:  # a full disk gets its room back
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    sync(folder.parent)
    if not keep_old:
        shutil.rmtree(old, ignore_errors=True)


def folders(folder: Path) -> list[Path]:
    """``folder`` and the one before it, which stepped aside for it: those that are there, newest first."""
    return [path for path in (folder, _beside(folder, "old")) if path.exists()]


def whole_folder(folder: Path) -> Path | None:
    """``folder``, or the one that stepped aside for it; None when neither is there."""
    return next(iter(folders(folder)), None)


def write_sealed(folder: Path, files: Mapping[str, bytes | memoryview], identity: Mapping[str, str]) -> None:
    """Write ``files`` by name into ``folder``, then the seal that lists them and says whose they are.

    Raises:
        OSError: when the disk takes no more.
    """
    listed = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        listed[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal = {"identity": dict(identity), "files": listed}
    (folder / COMPLETE_NAME).write_text(json.dumps(seal, indent=2) + "\n", encoding="utf-8")


def check_seal(folder: Path, identity: Mapping[str, str]) -> None:
    """Read every file of a sealed folder and compare it with the seal.

    Raises:
        UnusableCheckpointError: when there is no whole seal, a file differs from it, or it is not ``identity``'s.
    """
    try:
        complete = folder / COMPLETE_NAME
        seal = json.loads((regular(complete) if complete.exists() else complete).read_text(encoding="utf-8"))
        owner, listed = dict(seal["identity"]), dict(seal["files"])
    except FileNotFoundError:
        raise UnusableCheckpointError(f"it is torn: it has no {COMPLETE_NAME}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableCheckpointError(f"it is torn: {COMPLETE_NAME} cannot be read ({error})") from None
    for key, value in identity.items():
        if owner.get(key) != value:
            raise UnusableCheckpointError(f"it is foreign: {key} = {owner.get(key)!r}, but this run's is {value!r}")
    for name, facts in listed.items():
        path = folder / name
        size = path.stat().st_size if path.exists() else None
        if size != facts["bytes"]:
            found = "missing" if size is None else f"of {size:,} bytes"
            raise UnusableCheckpointError(f"it is torn: {name} is {found}, expected {facts['bytes']:,} bytes")
        if sha256_file(path) != facts["sha256"]:
            raise UnusableCheckpointError(f"it is damaged: {name} is not what was written")


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{suffix}")
