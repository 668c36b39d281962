"""A command line comes in; the same process runs it, and the kernel kills it once its parent is gone.

Run by path as ``python -I tether.py PARENT_PID COMMAND ...``. The tie is PR_SET_PDEATHSIG, which survives exec; it is
made here, after exec, because code between fork and exec may deadlock in a parent that has threads. Linux only:
elsewhere a run outlives a killed parent, and the lock of its folder keeps it from being started twice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:  # the parent died before the tie was made
            sys.exit("the parent process is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
