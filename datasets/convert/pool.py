"""Paths of images come in, their pages or the reasons against them go out in the same order: decoded by processes.

One image is one message, so a worker that dies is traced to the image that it was decoding.
"""

from __future__ import annotations

import os
import selectors
import signal
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

from datasets.convert.fork_server import DecodeServer, Recipe, take_server
from datasets.errors import InputError
from datasets.images.resize import LargeJpeg, Resize, smallest_reduced

AHEAD_PER_WORKER = 3
"""Images that a worker has in hand, so that it never waits for the parent."""
WINDOW_PER_WORKER = 16
"""How far the workers may run ahead of the oldest image that is still being decoded."""
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""Signals that say that the decoder, not the machine, failed."""
PAGE, REJECT = b"P", b"R"
"""First byte of an answer: CRC-32, SHA-256 and the stored bytes follow, or the reason in UTF-8."""


@dataclass(frozen=True)
class Page:
    """A decoded image as it is stored, as S x S gray bytes or as a gray JPEG, and its checksums."""

    stored: bytes
    crc32: int
    sha256: bytes


@dataclass(frozen=True)
class Reject:
    """Why an image cannot be used."""

    reason: str


Outcome = Page | Reject


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


Image = tuple[int, str]
"""Position and path of an image."""


@dataclass
class _Worker:
    pid: int
    pipe: Connection
    in_hand: deque[Image] = field(default_factory=deque)


class _Waiting:
    """Images that no worker has in hand, in order; only the next few are taken from the source."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._source = enumerate(paths)
        self._next: deque[Image] = deque()

    def look(self, num: int) -> int:
        """How many are left, counted up to ``num``."""
        self._next.extend(islice(self._source, max(0, num - len(self._next))))
        return min(num, len(self._next))

    def take(self, limit: int) -> Image | None:
        """The next image if its position is below ``limit``."""
        return self._next.popleft() if self.look(1) and self._next[0][0] < limit else None

    def put_back(self, images: Iterable[Image]) -> None:
        """Return what a dead worker had in hand."""
        self._next = deque(sorted([*images, *self._next]))


class DecodePool(AbstractContextManager["DecodePool"]):
    """Worker processes that decode images below ``root`` to pages; leaving the context ends them at once."""

    def __init__(
        self,
        root: Path,
        *,
        size: int,
        resize: Resize,
        large_jpeg: LargeJpeg = "reduced",
        jpeg_quality: int | None = None,
        workers: int,
    ) -> None:
        at_least = smallest_reduced(size) if large_jpeg == "reduced" else None
        self._arguments = (str(root), Recipe(size, resize, at_least, jpeg_quality))
        self._server: DecodeServer | None = None
        self._num_workers = workers
        self._workers: list[_Worker] = []
        # Kept, since one made for each wait, as connection.wait does, leaves cycles for the garbage collector.
        self._selector = selectors.DefaultSelector()

    def __exit__(self, *exc: object) -> None:
        self._selector.close()
        if self._server is None:
            return
        with self._server, suppress(RuntimeError):  # a server that has died has said so, and its workers end too
            for worker in self._workers:
                os.kill(worker.pid, signal.SIGTERM)
                worker.pipe.close()
            for worker in self._workers:
                self._server.wait(worker.pid)
        self._workers.clear()

    @property
    def pids(self) -> list[int]:
        """The processes that run now: the workers, and last the server, which starts them."""
        return [] if self._server is None else [*(worker.pid for worker in self._workers), self._server.pid]

    def decode(self, paths: Iterable[str]) -> Iterator[Outcome]:
        """Yield one outcome for each path, in the order of the paths, whatever the number of workers.

        Raises:
            InputError: if a worker was killed from outside.
            RuntimeError: if a worker failed by a fault of ours; its traceback is on standard error.
        """
        waiting, done, due = _Waiting(paths), dict[int, Outcome](), 0
        while True:
            self._hand_out(waiting, due + WINDOW_PER_WORKER * self._num_workers)
            if due in done:
                yield done.pop(due)
                due += 1
            elif any(worker.in_hand for worker in self._workers) or waiting.look(1):
                self._collect(waiting, done)
            else:
                return

    def _hand_out(self, waiting: _Waiting, limit: int) -> None:
        for _ in range(waiting.look(self._num_workers) - len(self._workers)):
            self._workers.append(self._start())
        for _ in range(AHEAD_PER_WORKER):
            for worker in self._workers:
                image = waiting.take(limit) if len(worker.in_hand) < AHEAD_PER_WORKER else None
                if image is not None:
                    worker.in_hand.append(image)
                    try:
                        worker.pipe.send_bytes(os.fsencode(image[1]))
                    except (BrokenPipeError, ConnectionResetError):
                        return  # the worker is dead: _collect reads what it left behind, then its end

    def _collect(self, waiting: _Waiting, done: dict[int, Outcome]) -> None:
        """Wait until some worker has answered or died and take what there is."""
        for key, _ in self._selector.select():
            worker = key.data
            try:
                message = worker.pipe.recv_bytes()
            except (EOFError, OSError):
                self._bury(worker, waiting, done)
            else:
                position, _ = worker.in_hand.popleft()
                done[position] = _parse(message)

    def _bury(self, worker: _Worker, waiting: _Waiting, done: dict[int, Outcome]) -> None:
        """Blame the image that a dead worker was decoding and give the others in its hand to the rest."""
        self._selector.unregister(worker.pipe)
        worker.pipe.close()
        self._workers.remove(worker)
        status = self._running_server().wait(worker.pid)
        name = worker.in_hand[0][1] if worker.in_hand else "no image"
        if status == -signal.SIGKILL:
            raise InputError(
                f"a decode worker was killed at {name}, perhaps for want of memory; "
                "the same command, with fewer --workers, goes on where it was"
            )
        if -status not in CRASHES or not worker.in_hand:
            raise RuntimeError(f"a decode worker ended with status {status} at {name}")
        crash = signal.Signals(-status).name
        position, _ = worker.in_hand.popleft()
        done[position] = Reject(f"the decoder crashed on it ({crash})")
        waiting.put_back(worker.in_hand)

    def _running_server(self) -> DecodeServer:
        if self._server is None:
            self._server = take_server()
        return self._server

    def _start(self) -> _Worker:
        worker = _Worker(*self._running_server().start(*self._arguments))
        self._selector.register(worker.pipe, selectors.EVENT_READ, worker)
        return worker


def _parse(message: bytes) -> Outcome:
    if message[:1] == REJECT:
        return Reject(message[1:].decode())
    (crc32,) = struct.unpack_from("<I", message, 1)
    return Page(message[37:], crc32, message[5:37])
