"""Share a machine's GPUs and cores out to runs that compute side by side, each near its GPU where Linux tells."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.executors.slots import query_gpus

SYS = Path("/sys")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one run of several computes; by default wherever its job does."""

    gpu: str | None = None
    """The one GPU that the run sees, named as in CUDA_VISIBLE_DEVICES."""
    cores: tuple[int, ...] = ()
    """The cores that it may use; none named: all."""

    mps: Mapping[str, str] = field(default_factory=dict)
    """Variables by which the run finds the Multi-Process Service."""

    @property
    def environment(self) -> dict[str, str]:
        """What is added to the run's environment."""
        return {**self.mps, **({} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu})}

    def bound(self, command: Sequence[str]) -> list[str]:
        """The command on these cores alone, where util-linux' taskset is at hand."""
        if not self.cores or shutil.which("taskset") is None:
            return [*command]
        return ["taskset", "--cpu-list", ",".join(map(str, self.cores)), *command]


def share_out(
    num_runs: int, gpus: Sequence[str], cores: Sequence[int], near: Mapping[str, Collection[int]]
) -> list[Placement]:
    """Give ``num_runs`` runs the GPUs in turn, and as many cores each, first those near its GPU.

    Args:
        num_runs: at least 1.
        gpus: names; none where runs share what there is.
        cores: those that may be used, neighbours next to each other.
        near: cores near a GPU, by its name; absent where nothing is known.
    """
    share = len(cores) // num_runs
    left, placements = list(cores), []
    for number in range(num_runs):
        gpu = gpus[number % len(gpus)] if gpus else None
        close = near.get(gpu, ()) if gpu else ()
        chosen = sorted(left, key=lambda core: core not in close)[:share]  # stable: else in the order of ``cores``
        left = [core for core in left if core not in chosen]
        placements.append(Placement(gpu=gpu, cores=tuple(sorted(chosen))))
    return placements


def neighbours_together(cores: Collection[int], sys: Path = SYS) -> list[int]:
    """The cores with the threads of one physical core next to each other, so that no two runs share it."""

    def first_sibling(core: int) -> int:
        siblings = _read_list(sys / f"devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        return min(siblings, default=core)

    return sorted(cores, key=lambda core: (first_sibling(core), core))


def cores_near(gpu: str, sys: Path = SYS) -> frozenset[int]:
    """Cores on the NUMA node of a GPU, by nvidia-smi and /sys; empty where these do not tell."""
    domain, _, rest = "".join(query_gpus("pci.bus_id", "-i", gpu)).lower().partition(":")
    return _read_list(sys / f"bus/pci/devices/{domain[-4:]}:{rest}/local_cpulist")


def _read_list(path: Path) -> frozenset[int]:
    """The numbers of a list of Linux such as ``0-3,8``; none where there is no such file."""
    try:
        parts = path.read_text(encoding="ascii").strip().split(",")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    ends = [part.split("-") for part in parts if part]
    return frozenset(number for end in ends for number in range(int(end[0]), int(end[-1]) + 1))
