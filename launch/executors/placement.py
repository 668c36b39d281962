"""Share a machine's GPUs and cores out to runs that compute side by side, each near its GPU where Linux tells.

On this machine there is a slot for each GPU, else two on the CPU. Needs no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.errors import InputError
from datasets.loading.threads import usable_cores

SYS = Path("/sys")
CPU_SLOTS = 2
"""Runs at once without a GPU: a second one fills the gaps of the first; more would only share the cores."""
Slot = dict[str, str]
"""A place for one run at a time: what is added to the run's environment, namely which GPU it sees."""


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


def make_slots(
    device: Literal["auto", "cpu", "cuda"], asked: int | None, runs_per_gpu: int | None = None
) -> tuple[Slot, ...]:
    """Make one slot for each GPU, else at most two on the CPU; ``asked`` slots share the GPUs in turn.

    Raises:
        InputError: for a count below 1, or when GPUs are asked for and there is none.
    """
    for option, count in (("--slots", asked), ("--runs-per-gpu", runs_per_gpu)):
        if count is not None and count < 1:
            raise InputError(f"{option} {count}: expected at least 1")
    if asked is not None and runs_per_gpu is not None:
        raise InputError("--slots counts the runs of all GPUs together, --runs-per-gpu of each: give one of them")
    gpus = () if device == "cpu" else visible_gpus(os.environ)
    if device == "cuda" and not gpus:
        raise InputError("--device cuda: neither nvidia-smi nor CUDA_VISIBLE_DEVICES shows a GPU; use --device cpu")
    if runs_per_gpu is not None:
        if not gpus:
            raise InputError("--runs-per-gpu: no GPU here; give --slots for the number of runs at once")
        asked = runs_per_gpu * len(gpus)
    if not gpus:
        return tuple(Slot() for _ in range(asked or min(CPU_SLOTS, usable_cores())))
    return tuple(Slot(CUDA_VISIBLE_DEVICES=gpus[number % len(gpus)]) for number in range(asked or len(gpus)))


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return names of the GPUs as CUDA_VISIBLE_DEVICES takes them: from that variable, else from nvidia-smi."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return parse_gpu_list(nvidia_smi())
    found = []
    for name in (part.strip() for part in named.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", name):  # CUDA ignores what follows the first invalid name
            break
        found.append(name)
    return tuple(found)


def parse_gpu_list(text: str) -> tuple[str, ...]:
    """Return the UUIDs in the output of ``nvidia-smi -L``; a GPU that is cut into MIG devices counts as these."""
    names: list[str] = re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)\)", text)
    followed = zip(names, [*names[1:], ""], strict=False)
    return tuple(name for name, after in followed if name.startswith("MIG") or not after.startswith("MIG"))


def query_gpus(field: str, *options: str) -> list[str]:
    """Return what nvidia-smi says of each GPU, or of that of ``-i``, under a name of ``--help-query-gpu``."""
    text = nvidia_smi(f"--query-gpu={field}", "--format=csv,noheader,nounits", *options)
    return [line.strip() for line in text.splitlines() if line.strip()]


def nvidia_smi(*options: str) -> str:
    """Return what ``nvidia-smi`` prints, by default with ``-L``; nothing without a driver, or where it fails."""
    command = ["nvidia-smi", *(options or ("-L",))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
