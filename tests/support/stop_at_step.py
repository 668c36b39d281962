"""``cxr`` as a process that sends itself a signal in the middle of a training step; TEST_STOP says when."""

from __future__ import annotations

import os
import sys

from torch.optim.optimizer import register_optimizer_step_post_hook

from launch.cli import main


def arm(number: int, at_step: int, rank: int) -> None:
    """Let Adam's ``at_step``-th step, from 1, be followed by the signal."""
    if int(os.environ.get("RANK", "0")) != rank:
        return
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == at_step:
            os.kill(os.getpid(), number)

    register_optimizer_step_post_hook(count)


if __name__ == "__main__":
    if "TEST_STOP" in os.environ:
        arm(*map(int, os.environ["TEST_STOP"].split()))
    main(sys.argv[1:])
