"""Work in several threads, and what a process says that gets a Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable


def in_threads(work: Callable[[int], None], num: int) -> None:
    """``work(0)`` to ``work(num - 1)`` at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stderr_after_ctrl_c(process: subprocess.Popen[str], ready: str, timeout_s: float) -> str:
    """What a process writes as it ends, if Ctrl-C reaches it after it has said that it is ready."""
    try:
        assert process.stdout.readline() == f"{ready}\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT, error
    return error.strip()
