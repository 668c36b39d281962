"""Ask a scheduler by one of its commands."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from launch.executors.base import QueueError, UnreachableError
from launch.executors.slurm.environment import command_environment

TIMEOUT_S = 120.0


def ask(*command: str, timeout_s: float = TIMEOUT_S, accepted: Sequence[int] = (0,)) -> str:
    """Return the output of a scheduler's command; SLURM's wait for a controller that does not answer at once.

    Args:
        command: program and arguments.
        timeout_s: time that it gets.
        accepted: exit statuses that are no failure.

    Raises:
        QueueError: with the last line that the command printed.
        UnreachableError: when there is no such command.
    """
    if shutil.which(command[0]) is None:
        raise UnreachableError(
            f"{command[0]}: no such command; its scheduler is not installed on this host, or not on the PATH"
        )
    try:
        done = subprocess.run(
            command, env=command_environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise QueueError(f"{command[0]}: no answer in {timeout_s:.0f} s") from None
    if done.returncode not in accepted:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise QueueError(f"{command[0]}: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout
