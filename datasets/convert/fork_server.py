"""Pipes and recipes come in, decoding processes go out, forked from one process that has loaded all they need.

Loading the decoders and their kernels takes a core half a second. Here one process does it, as soon as it is started
and beside whatever its parent does meanwhile; a worker forked from it begins at once, with most of its memory shared.
A process of its own, since forking the converter itself would copy its threads' locks and its tables.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from datasets.images.resize import Resize

MESSAGE_BYTES = 1 << 16
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Recipe:
    """What becomes of each image."""

    size: int
    resize: Resize
    at_least: int | None
    """Shorter side that a JPEG must keep when it is decoded reduced; None decodes it whole."""
    jpeg_quality: int | None
    """Quality of the JPEG that is stored; None stores the pixels."""


class DecodeServer(AbstractContextManager["DecodeServer"]):
    """The server's other end. It ends when this is closed, or with the process that holds it.

    Ctrl-C reaches neither it nor its workers: whoever holds it decides when they end.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"import sys; sys.path[:] = {sys.path!r}; from datasets.convert.fork_server import serve; serve({{}})"
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code.format(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **SINGLE_THREADED},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
            theirs.close()
        self.pid = self._process.pid

    def __exit__(self, *exc: object) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def start(self, root: str, recipe: Recipe) -> tuple[int, Connection]:
        """Process id of a new worker, and the pipe to it.

        Raises:
            RuntimeError: if the server has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            pid = self._asked(("start", (root, recipe)), theirs.fileno())
        return pid, Connection(ours.detach())

    def wait(self, pid: int) -> int:
        """Status with which a worker that has ended, or is ending, ended: that of ``Popen.returncode``."""
        return os.waitstatus_to_exitcode(self._asked(("wait", pid)))

    def _asked(self, message: object, *files: int) -> int:
        try:
            socket.send_fds(self._control, [pickle.dumps(message)], list(files))
            reply = self._control.recv(MESSAGE_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            reply = b""
        if not reply:
            raise RuntimeError("the process that starts decode workers has ended; its last words are above")
        return int(reply)


_early: list[DecodeServer] = []
"""A server that was started before it is needed."""


@contextmanager
def decoders_starting() -> Iterator[None]:
    """Have a server load its libraries while the block does other work; the first pool in it takes the server."""
    server = DecodeServer()
    _early.append(server)
    try:
        yield
    finally:
        if server in _early:
            _early.remove(server)
            server.__exit__()


def take_server() -> DecodeServer:
    """The server that was started early, or a new one."""
    return _early.pop() if _early else DecodeServer()


def serve(control_file: int) -> None:
    """Body of the server: start workers, and say how they ended, until the other end is closed."""
    # numba looks for scipy's linear algebra, which no kernel here uses, and whose import takes a third of the start.
    sys.modules["scipy"] = None  # type: ignore[assignment]
    from datasets.convert.worker import warm_up

    control = socket.socket(fileno=control_file)
    warm_up()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not message:
            return
        kind, value = pickle.loads(message)
        if kind == "start":
            reply = _forked(control, files[0], *value)
        else:
            _, reply = os.waitpid(value, 0)
        control.send(str(reply).encode())


def _forked(control: socket.socket, file: int, root: str, recipe: Recipe) -> int:
    """Process id of a new worker at a pipe."""
    from datasets.convert.worker import work

    pid = os.fork()
    if pid:
        os.close(file)
        return pid
    status = 1
    try:
        control.close()
        work(Connection(file), root, recipe)
        status = 0
    except BaseException:  # noqa: BLE001 (a forked process must not go on as its parent would)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
