"""``cxr grid drill``: try what a cluster does to runs, in the user's own queue, before a grid depends on it."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from datasets.errors import InputError
from launch.cli.grid.plan import print_json
from launch.ranges import Positive

if TYPE_CHECKING:
    from launch.drill.folder import DrillFolder
    from launch.drill.report import DrillReport
    from launch.executors.base import Executor

LEAVE_S = 180.0
"""Time that jobs of an earlier drill get to save and leave the queue."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Drill:
    """Try in your own queue, with your profile, what survives: two or three minutes of tiny runs on made-up images.

    One run is queued again, one cancelled and retried, one meets its time limit, one is killed, one finds its disk
    full. Weights are compared bit for bit with those of a run that nothing is done to. A second table says what the
    site's settings prevent, and which line of the profile mends it.

    Jobs are asked for as the profile says, one for each run, but for time limits of at most 10 minutes and without
    its places and on_end. Ctrl-C cancels them; the same command then begins anew. The folder is removed at the end
    unless something failed.

    Exit status: 0 when all that can survive did, 1 otherwise.

    For example:
        cxr grid drill --cluster profile.toml
    """

    cluster: Annotated[Path | None, tyro.conf.arg(aliases=("--profile",))] = None
    """Cluster profile (TOML), as cxr grid submit takes it."""
    executor: Literal["slurm", "local"] | None = None
    """Where; by default slurm with --cluster, else local, where no queue can be tried."""
    folder: Path = Path("cxr-drill")
    """Folder for images and runs, on a file system that the nodes see."""
    wait_min: Positive = 30.0
    """Minutes after which jobs that have not ended are given up."""
    json: bool = False
    """Print JSON alone: ok, folder (if it was left), cases with case, outcome (survived, prevented, lost, not tried),
    same_weights, lost_s, what, and findings with area, level, what, fix."""

    def run(self) -> None:
        from launch.drill.folder import DrillFolder
        from launch.executors.registry import make_executor

        folder = DrillFolder(self.folder)
        executor = make_executor(self._executor_name(), folder.runs_dir)
        with folder.held():
            try:
                report = self._drill(folder, executor)
            except KeyboardInterrupt:
                logger.info("%s is left; the same command begins anew", folder.path)
                raise
            except InputError:  # nothing was tried
                with suppress(InputError):
                    _wait_for_queue(executor)
                    folder.remove()
                raise
            left: Path | None = folder.path
            if report.ok:
                _wait_for_queue(executor)
                folder.remove()
                left = None
        if self.json:
            print_json(report.document(left))
        else:
            report.show()
            if left is not None:
                print(
                    f"{left} is left, with the logs of the runs: cxr grid logs {folder.grid_file} RUN "
                    f"--runs-dir {folder.runs_dir}"
                )
        sys.stdout.flush()
        sys.exit(0 if report.ok else 1)

    def _executor_name(self) -> str:
        name = self.executor or ("local" if self.cluster is None else "slurm")
        if (name == "slurm") != (self.cluster is not None):
            wanted = "needs --cluster PROFILE" if name == "slurm" else "takes no --cluster profile"
            raise InputError(f"--executor {name} {wanted}")
        return name

    def _drill(self, folder: DrillFolder, executor: Executor) -> DrillReport:
        from launch.drill.local import drill_locally
        from launch.drill.queue import QueueDrill
        from launch.executors.slurm.profile import load_profile

        cluster = None if self.cluster is None else load_profile(self.cluster)
        if executor.folder.is_dir():
            executor.cancel_all()
            _wait_for_queue(executor)
        folder.make(self.cluster, cluster)
        if self.cluster is None or cluster is None:
            return drill_locally(folder, executor)
        return QueueDrill(folder, executor, self.cluster, cluster, self.wait_min).run()


def _wait_for_queue(executor: Executor) -> None:
    """Wait until no job of the folder is left, which would write into it.

    Raises:
        InputError: when they take minutes.
    """
    deadline = time.monotonic() + LEAVE_S
    while left := executor.states([], dict):
        if time.monotonic() > deadline:
            jobs = ", ".join(sorted({str(state.job) for state in left.values()}))
            raise InputError(f"{executor.runs_dir.parent}: jobs {jobs} do not leave the queue; scancel them")
        time.sleep(1.0)
