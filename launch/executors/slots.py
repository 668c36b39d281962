"""Slots for runs on this machine: one for each GPU, else two on the CPU. Needs no torch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from typing import Literal

from datasets.errors import InputError
from datasets.loading.threads import usable_cores

CPU_SLOTS = 2
"""Runs at once without a GPU: a second one fills the gaps of the first; more would only share the cores."""


Slot = dict[str, str]
"""A place for one run at a time: what is added to the run's environment, namely which GPU it sees."""


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
