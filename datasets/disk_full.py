"""A full disk, met while writing, comes in as an OSError; one clear line about it goes out as an InputError."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import InputError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the largest file size allowed here is reached",
}


@contextmanager
def explained_disk_full(path: Path, kept: str = "what was written so far is kept") -> Iterator[None]:
    """Turn the errors of a disk that takes no more into one line; ``kept`` says what is left to go on with."""
    try:
        yield
    except OSError as error:
        if error.errno not in REASONS:
            raise
        raise InputError(
            f"{path}: {REASONS[error.errno]}; {kept}: make room and run the same command again"
        ) from None
