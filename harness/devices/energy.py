"""Measure the energy that a run's devices use, where they tell: a GPU by NVML, the CPU by RAPL's files in /sys."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from datasets.files import write_json
from harness.runs.folder import RunFolder, recorded_kwh

SAMPLE_S = 60.0
"""Time between two looks at a counter; RAPL's may begin anew within minutes."""
JOULES_PER_KWH = 3.6e6
POWERCAP = Path("/sys/class/powercap")

logger = logging.getLogger(__name__)
Counter = Callable[[], float]
"""Returns the joules since its last call, or since it was made, that are this process's."""


class EnergyMeter:
    """Add up the energy of this process's device over all starts, in a file of the run; use it in a ``with`` block.

    A process that is killed loses at most what came since the last look. Without a counter nothing is written.
    """

    def __init__(self, folder: RunFolder, rank: int, counter: Counter | None) -> None:
        """``rank`` is this process's number in the run; each has a file of its own."""
        self._file, self._counter = folder.energy_dir / f"{rank}.json", counter
        self._kwh = recorded_kwh(self._file) or 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look_again, name="energy", daemon=True)

    def __enter__(self) -> EnergyMeter:
        if self._counter is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.record()

    def record(self) -> None:
        """Write what was used so far; a counter or a disk that fails ends the counting, with a warning."""
        with self._lock:
            if self._counter is None:
                return
            try:
                self._kwh += self._counter() / JOULES_PER_KWH
                self._file.parent.mkdir(exist_ok=True)
                write_json(self._file, {"kwh": self._kwh})
            except (OSError, ValueError) as error:
                logger.warning("energy is counted no longer: %s", error)
                self._counter = None

    def _look_again(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.record()


def energy_counter(device: torch.device) -> Counter | None:
    """The counter of a device; None where it has none, or this user may not read it."""
    if device.type != "cuda":
        return rapl_counter()
    return nvml_counter(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def nvml_counter(uuid: str) -> Counter | None:
    """A GPU's total energy (Volta and later), shared equally with the other processes that compute on it.

    A GPU that is cut into MIG devices has one counter for all, which says nothing about one of them.
    """
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:  # an environment from before it was needed
        return None
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
        if _is_cut(pynvml, gpu):
            return None
    except pynvml.NVMLError:
        return None

    def used() -> float:
        nonlocal before
        try:
            now = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
            # Clients of an MPS daemon, which computes nothing itself.
            clients = pynvml.nvmlDeviceGetMPSComputeRunningProcesses(gpu)
            neighbours = clients or pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from None
        millijoules, before = now - before, now
        return 1e-3 * float(millijoules) / max(1, len(neighbours))

    return used


def _is_cut(pynvml: Any, gpu: Any) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(gpu)[0])
    except pynvml.NVMLError:  # a GPU that cannot be
        return False


def rapl_counter(powercap: Path | None = None) -> Counter | None:
    """The energy of all processor packages, times this process's part of the CPU time that all processes used."""
    packages = sorted((powercap or POWERCAP).glob("intel-rapl:[0-9]*"))  # AMD's too
    packages = [package for package in packages if package.name.count(":") == 1]
    try:
        before = [_microjoules(package, "energy_uj") for package in packages]
        ranges = [_microjoules(package, "max_energy_range_uj") for package in packages]
    except (OSError, ValueError):
        return None
    if not packages:
        return None
    own, busy = _cpu_seconds()

    def used() -> float:
        nonlocal before, own, busy
        now, (own_now, busy_now) = [_microjoules(package, "energy_uj") for package in packages], _cpu_seconds()
        microjoules = sum((a - b) % (most + 1) for a, b, most in zip(now, before, ranges, strict=True))
        share = min(1.0, (own_now - own) / max(busy_now - busy, 1e-9))
        before, own, busy = now, own_now, busy_now
        return 1e-6 * microjoules * share

    return used


def _microjoules(package: Path, name: str) -> int:
    return int((package / name).read_text(encoding="ascii"))


def _cpu_seconds() -> tuple[float, float]:
    """CPU seconds of this process, and of all processes of the machine."""
    times = psutil.cpu_times()
    return sum(os.times()[:2]), sum(times) - times.idle - getattr(times, "iowait", 0.0)
