"""Decode images in worker processes and yield their pages, or the reasons against them, in the order of the paths.

The workers are forked by multiprocessing's fork server, which has loaded the decoders (``datasets.convert.preload``):
loading them takes half a second of a core, a fork a few milliseconds. As with every use of that server, a script that
makes a pool needs ``if __name__ == "__main__":`` around what it runs.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from datasets.convert.protocol import DecodeSpec, Fault, Outcome, Reject
from datasets.errors import InputError, one_line

AHEAD_PER_WORKER = 3
"""Images that a worker has been sent and not answered, so that it never waits for the parent."""
WINDOW_PER_WORKER = 16
"""How far the workers may run ahead of the oldest image that is still being decoded."""
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""Signals that say that the decoder, not the machine, failed."""
SERVER_DIED = 255
"""Exit code that multiprocessing gives a worker whose fork server has ended."""
SERVER_ENDED = "the process that starts decode workers has ended; its last words are above"

_context = multiprocessing.get_context("forkserver")


def start_fork_server() -> None:
    """Start the fork server, or do nothing if it runs; it loads the decoders beside whatever the caller does next.

    It ends with this process.
    """
    _context.set_forkserver_preload(["datasets.convert.preload"])
    resource_tracker.ensure_running()  # first, since starting it unblocks SIGINT
    # Blocked here, SIGINT is blocked in all that the server forks: on Ctrl-C the parent decides when its workers end.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


Image = tuple[int, str]
"""Position and path of an image."""


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    pending: deque[Image] = field(default_factory=deque)
    """Images sent and not answered; the first is being decoded."""


class DecodePool(AbstractContextManager["DecodePool"]):
    """Worker processes that decode images below ``root``; leaving the context ends them at once."""

    def __init__(self, root: Path, spec: DecodeSpec, *, workers: int) -> None:
        self.root, self.spec = root, spec
        self._num_workers = workers
        self._workers: list[_Worker] = []
        # Kept, since one made for each wait, as connection.wait does, leaves cycles for the garbage collector.
        self._selector = selectors.DefaultSelector()

    def __exit__(self, *exc: object) -> None:
        self._selector.close()
        for worker in self._workers:
            worker.process.terminate()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def decode(self, paths: Iterable[str]) -> Iterator[Outcome]:
        """Yield one outcome for each path, in the order of the paths, whatever the number of workers.

        Raises:
            InputError: if a worker was killed from outside.
            RuntimeError: if a worker failed by a fault of the machine or of this program.
        """
        source = enumerate(paths)
        queue = deque(islice(source, WINDOW_PER_WORKER * self._num_workers))
        done, due = dict[int, Outcome](), 0
        while queue or done or any(worker.pending for worker in self._workers):
            self._send(queue)
            if due in done:
                yield done.pop(due)
                due += 1
                queue.extend(islice(source, 1))
            else:
                self._receive(queue, done)

    def _send(self, queue: deque[Image]) -> None:
        for _ in range(min(self._num_workers, len(queue)) - len(self._workers)):
            self._workers.append(self._start())
        for _ in range(AHEAD_PER_WORKER):
            for worker in self._workers:
                if queue and len(worker.pending) < AHEAD_PER_WORKER:
                    worker.pending.append(queue.popleft())
                    try:
                        worker.pipe.send(worker.pending[-1][1])
                    except (BrokenPipeError, ConnectionResetError):
                        return  # the worker is dead: _receive reads what it left behind, then its end

    def _receive(self, queue: deque[Image], done: dict[int, Outcome]) -> None:
        """Wait until some worker has answered or died and take what there is."""
        for key, _ in self._selector.select():
            worker = key.data
            try:
                outcome = worker.pipe.recv()
            except (EOFError, OSError):
                self._remove_dead(worker, queue, done)
            else:
                position, path = worker.pending.popleft()
                if isinstance(outcome, Fault):
                    error = RuntimeError(f"decoding failed at {one_line(path)}, not for its content: {outcome.words}")
                    error.add_note(outcome.details)
                    raise error
                done[position] = outcome

    def _remove_dead(self, worker: _Worker, queue: deque[Image], done: dict[int, Outcome]) -> None:
        """Blame the image that a dead worker was decoding and give the others it was sent to the rest."""
        self._selector.unregister(worker.pipe)
        worker.pipe.close()
        self._workers.remove(worker)
        worker.process.join()
        status = worker.process.exitcode or 0
        name = worker.pending[0][1] if worker.pending else "no image"
        if status == -signal.SIGKILL:
            raise InputError(
                f"a decode worker was killed at {name}, perhaps for want of memory; "
                "re-run the same command, with fewer --workers, to resume"
            )
        if status == SERVER_DIED:
            raise RuntimeError(SERVER_ENDED)
        if -status not in CRASHES or not worker.pending:
            raise RuntimeError(f"a decode worker ended with status {status} at {name}")
        position, _ = worker.pending.popleft()
        done[position] = Reject(f"the decoder crashed on it ({signal.Signals(-status).name})")
        queue.extendleft(reversed(worker.pending))

    def _start(self) -> _Worker:
        start_fork_server()
        ours, theirs = _context.Pipe()
        with theirs:
            process = _context.Process(target=_decode_loop, args=(theirs, str(self.root), self.spec), daemon=True)
            try:
                process.start()
            except (ConnectionError, EOFError):
                raise RuntimeError(SERVER_ENDED) from None
        worker = _Worker(process, ours)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker


def _decode_loop(pipe: Connection, root: str, spec: DecodeSpec) -> None:
    """Answer each path with its outcome until the other end closes the pipe or is gone; runs in a worker."""
    outcome: Outcome | Fault
    while True:
        try:
            path = os.path.join(root, pipe.recv())  # noqa: PTH118 (a path may hold odd bytes)
            try:
                from datasets.convert.worker import decode_page

                outcome = decode_page(Path(path), spec)
            except Exception as error:  # noqa: BLE001 (raised by the parent)
                outcome = Fault(f"{type(error).__name__}: {error}", traceback.format_exc())
            pipe.send(outcome)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
