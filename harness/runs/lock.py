"""Lock a run's or an export's folder, so that one process alone writes it.

The lock is a ``flock`` on a file that names its holder. The kernel releases it when every process that has the
descriptor closed it or ended, so a killed holder leaves none behind. ``cxr grid`` locks a run before it starts the
training, and hands the descriptor down: the training then holds the lock even when the grid is killed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import InputError

if TYPE_CHECKING:
    from harness.devices.accelerator import Accelerator

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"
DESCRIPTOR_VARIABLE = "CXR_LOCK_DESCRIPTOR"
"""Environment variable with the number of a lock's descriptor that the parent process handed down."""
PATIENCE_S = 1.0
"""Time before a lock counts as held: who asks whether it is holds it for a moment, and a process takes one to end."""


class NoFileLocksError(InputError):
    """The file system has no file locks."""


@dataclass(frozen=True)
class RunLock:
    """A held lock; released once every process that has the descriptor closed it or ended."""

    descriptor: int

    @classmethod
    def acquire(cls, folder: Path, name: str = LOCK_NAME) -> RunLock | None:
        """Lock ``folder`` by the file ``name`` in it; return None when another process holds it.

        Raises:
            NoFileLocksError: when the file system has no locks.
        """
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        held = False
        try:
            held = _flock(descriptor, fcntl.LOCK_EX, folder) and _is_file(descriptor, folder / name)
        finally:
            if not held:
                os.close(descriptor)
        return cls(descriptor)._signed() if held else None

    @classmethod
    def inherit(cls, folder: Path, name: str = LOCK_NAME) -> RunLock | None:
        """Take over the lock of ``folder`` that the parent process handed down; None when it handed down no such."""
        for descriptor in inherited_descriptors():
            if _is_file(descriptor, folder / name) and _flock(descriptor, fcntl.LOCK_EX, folder):
                return cls(descriptor)._signed()
        return None

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a child process recognises the descriptor, which it must be given too."""
        return {DESCRIPTOR_VARIABLE: str(self.descriptor)}

    def release(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)

    def _signed(self) -> RunLock:
        holder = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        with suppress(OSError):  # a full disk: only the name of the holder is lost
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, holder, 0)
        return self


def inherited_descriptors() -> tuple[int, ...]:
    """The open descriptor of a lock that the parent process handed down, to hand it down further; else nothing."""
    try:
        descriptor = int(os.environ[DESCRIPTOR_VARIABLE])
        os.fstat(descriptor)
    except (KeyError, ValueError, OverflowError, OSError):
        return ()
    return (descriptor,)


@contextmanager
def sole_writer(folder: Path, *, beside: bool = False) -> Iterator[None]:
    """Hold the lock of ``folder``, or go on with a warning where the file system has none.

    The lock file of a folder that is to be replaced whole lies ``beside`` it and is removed at the end.

    Raises:
        InputError: when another process holds it; names the process.
    """
    place, name = (folder.parent, f".{folder.name}.lock") if beside else (folder, LOCK_NAME)
    lock: RunLock | None = None
    deadline = time.monotonic() + PATIENCE_S
    try:
        while (lock := RunLock.inherit(place, name) or RunLock.acquire(place, name)) is None:
            if time.monotonic() > deadline:
                holder = _holder(place / name)
                raise InputError(f"{folder}: in use by {holder}; wait until it has ended, or stop it")
            time.sleep(PATIENCE_S / 20)
    except NoFileLocksError:
        logger.warning(f"{folder}: this file system has no file locks; start no second process on it")
    try:
        yield
    finally:
        if lock is not None:
            if beside:
                (place / name).unlink(missing_ok=True)
            lock.release()


@contextmanager
def sole_writer_of_all(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the lock of ``folder`` in the first process for all of them; all fail alike when another holds it.

    Raises:
        InputError: in every process, when another one than these holds it.
    """
    from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

    problem = None
    with ExitStack() as held:
        if accelerator.is_main_process:
            try:
                held.enter_context(sole_writer(folder))
            except InputError as error:
                problem = str(error)
        (problem,) = broadcast_object_list([problem])
        if problem is not None:
            raise InputError(problem)
        yield


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
            raise NoFileLocksError(
                f"{folder}: this file system has no file locks; use a --runs-dir on another"
            ) from None
        raise
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the descriptor is of the file that ``path`` names now, not of one that was removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
