"""Lock a run's folder, so that one process alone computes the run.

The lock is a ``flock`` on a file in the run's folder. Its descriptor is handed down to the training process, so the
lock is held as long as that process lives, even when whoever started it is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import InputError

LOCK_NAME = ".lock"


@dataclass(frozen=True)
class RunLock:
    """A held lock; released once every process that has the descriptor closed it or ended."""

    descriptor: int

    @classmethod
    def acquire(cls, folder: Path) -> RunLock | None:
        """Lock this run's folder; return None when another process holds it.

        Raises:
            InputError: when the file system has no locks.
        """
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        held = False
        try:
            held = _flock(descriptor, fcntl.LOCK_EX, folder)
        finally:
            if not held:
                os.close(descriptor)
        return cls(descriptor) if held else None

    def release(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of this run's folder."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH, folder)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise InputError(f"{folder}: this file system has no file locks; use a --runs-dir on another") from None
        raise
    return True
