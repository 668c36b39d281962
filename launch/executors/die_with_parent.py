"""Become a command that the kernel kills once its parent is gone: ``die_with_parent.py PARENT_PID COMMAND ...``.

It is run by path with ``python -I``. PR_SET_PDEATHSIG survives exec; it is set here, after exec, because code between
fork and exec may deadlock in a parent with threads. Linux only: elsewhere a run outlives a killed parent, and the
lock of its folder keeps it from being started twice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def dying_with_parent(command: list[str]) -> list[str]:
    """Return the command line of a child that runs ``command`` and is killed when this process ends."""
    return [sys.executable, "-I", os.path.abspath(__file__), str(os.getpid()), *command]  # noqa: PTH100


def main() -> None:
    """Bind this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:  # the parent died before the signal was set
            sys.exit("the parent process is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
