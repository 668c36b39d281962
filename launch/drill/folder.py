"""The folder of a drill: images made up, a beton, the grid, and the profile that differs from the user's in times."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import InputError
from datasets.files import read_toml, write_text
from harness.runs.lock import sole_writer
from launch.drill.guard import GuardedCommand, Strike
from launch.executors.base import SubmitRequest
from launch.executors.registry import current_states
from launch.executors.slurm.profile import ClusterConfig
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid
from launch.plan.decide import decide
from launch.plan.run_state import dataset_facts
from launch.toml import as_toml

GRID = Path(__file__).with_name("grid.toml")
NUM_PATIENTS, SIZE = 40, 32
DATASET = "chestxray14"
MARK = "drill.toml"
"""The copy of the grid in the folder, by which a drill's folder is known."""
LONGEST_MIN, LONGEST_DELAY_S = 10, 60
"""Time limit of a drill's jobs, so that a queue lets them in between others, and the warning before it."""
LEFT_OUT = ("on_end", "place", "runs_per_gpu", "runs_per_job", "mps")
"""Keys without which a drill's jobs are asked for: nobody is told of its failures, and each run has its own job."""


class DrillFolder:
    """Paths below a drill's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.grid_file = self.path / MARK
        self.data_dir, self.runs_dir = self.path / "data", self.path / "runs"
        self.profile = self.path / "profile.toml"

    @property
    def runs(self) -> tuple[GridRun, ...]:
        """The runs of the drill."""
        return load_grid(str(GRID)).runs

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder from a second drill.

        Raises:
            InputError: when it is something else, or another drill has it.
        """
        if self.path.exists() and not (self.path.is_dir() and (self._is_empty() or self.grid_file.exists())):
            raise InputError(f"--folder {self.path}: holds something else than a drill; name a new folder")
        with sole_writer(self.path, beside=True):
            yield

    def make(self, profile: Path | None, cluster: ClusterConfig | None) -> None:
        """Write the folder anew, with the profile of a short time limit where there is one."""
        self.remove()
        write_text(self.grid_file, GRID.read_text(encoding="utf-8"))
        if profile is not None and cluster is not None:
            values = {key: value for key, value in read_toml(profile).items() if key not in LEFT_OUT}
            limit_min = min(cluster.time_min, LONGEST_MIN)
            delay_s = min(cluster.signal_delay_s, LONGEST_DELAY_S, 30 * limit_min)
            write_text(self.profile, as_toml({**values, "time_min": limit_min, "signal_delay_s": delay_s}))
        self._make_beton()

    def _make_beton(self) -> None:
        from datasets.convert.convert import convert
        from datasets.convert.request import ConvertOptions
        from datasets.phantom.write import write_phantom
        from datasets.sources.records import read_records
        from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

        phantoms = self.path / "phantoms"
        (made,) = write_phantom(phantoms, [DATASET], patients=NUM_PATIENTS, seed=0, size=SIZE, workers=1)
        records = read_records(DATASET, made.folder)
        splits = assign_splits(records, SplitConfig(kind="random"))
        ranks = subset_ranks(records.frame["name"], splits, 0)
        convert(records, splits, ranks, self.data_dir / f"{DATASET}.beton", ConvertOptions(size=SIZE, workers=1))

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _is_empty(self) -> bool:
        return not any(self.path.iterdir())


def drill_request(folder: DrillFolder, runs: Sequence[GridRun], strikes: Mapping[str, Strike]) -> SubmitRequest:
    """Return the submission of these runs, each behind a guard that strikes it as ``strikes`` says by its name."""
    facts = dataset_facts(folder.data_dir, {run.config.data.dataset for run in runs})
    states = current_states(runs, folder.runs_dir, facts)
    command = GuardedCommand(runs_dir=folder.runs_dir, data_dir=folder.data_dir, strikes=dict(strikes))
    return SubmitRequest(grid=str(folder.grid_file), plan=decide(runs, states), command=command, facts=facts)
