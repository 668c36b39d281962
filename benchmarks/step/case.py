"""What is measured: who trains which network by which method; and the ratios and shares between them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUM_LABELS = 14
LOOPS = {
    "baseline": "baseline loop, float32, Pillow",
    "careful": "careful loop, OpenCV",
    "ours": "ours",
    "ours_eager": "ours, kernel by kernel",
    "careful_compiled": "careful loop with torch.compile",
    "ours_compiled": "ours with torch.compile",
    "ours_compiled_eager": "ours with torch.compile, kernel by kernel",
}
"""Titles of the loops by name; ours starts its step on a GPU as one CUDA graph, but for those kernel by kernel."""
VALIDATION_BATCHES = {"cpu": 64, "cuda": 256}
"""Images of a validation step, in ours and in the careful loop; the baseline takes its training batch."""


@dataclass(frozen=True)
class Case:
    """A network and a method, by their names in a run's config."""

    network: str
    method: str

    @property
    def name(self) -> str:
        return f"{self.method}_{self.network.removeprefix('densenet')}"

    @property
    def validates(self) -> bool:
        """Whether validation is measured as well: it does not depend on the method, so once is enough."""
        return self == CASES[0]


CASES = tuple(
    Case(network, method)
    for network in ("densenet121", "densenet40")
    for method in ("transfer_learning", "attention_transfer")
)

STEP, WHOLE, VALIDATION = "loader-free step", "whole step", "validation"
PARTS = "parts of a step"
EPOCH, STREAMED = "epoch", "epoch, pages streamed"

Measured = dict[tuple[str, str, str], list[dict[str, float]]]
"""Measurements of every round by case, loop and what was measured."""


def step_ratios(measured: Measured) -> dict[str, float | None]:
    """The ratios of the benchmark; None for what was not measured. Rates are of whole steps, medians over rounds."""
    one, transfer, forty, forty_transfer = (case.name for case in CASES)
    found = {case.name: _over(measured, case.name, WHOLE, "ours", "baseline") for case in CASES}
    for name in (transfer, one, forty_transfer, forty):
        found[f"{name}_over_careful"] = _over(measured, name, WHOLE, "ours", "careful")
    found["validation"] = _over(measured, one, VALIDATION, "ours", "baseline")
    found["validation_over_careful"] = _over(measured, one, VALIDATION, "ours", "careful")
    found["peak_memory_attention_transfer_121"] = _peak_ratio(measured, transfer)
    found["data_wait_share"] = share(measured.get((forty, "ours", EPOCH), ()), "data_wait_s")
    found["data_wait_share_streamed"] = share(measured.get((forty, "ours", STREAMED), ()), "data_wait_s")
    overheads = [share(measured.get((name, "ours", STEP), ()), "overhead_s") for name in (one, forty)]
    found["overhead_share"] = max((value for value in overheads if value is not None), default=None)
    for name in (transfer, one, forty_transfer, forty):
        found[f"{name}_loader_free"] = _over(measured, name, STEP, "ours", "baseline")
        found[f"{name}_loader_free_over_careful"] = _over(measured, name, STEP, "ours", "careful")
    for name in (transfer, one):
        found[f"{name}_compiled"] = _over(measured, name, WHOLE, "ours_compiled", "baseline")
        found[f"{name}_compiled_over_careful"] = _over(measured, name, WHOLE, "ours_compiled", "careful")
        found[f"{name}_both_compiled"] = _over(measured, name, WHOLE, "ours_compiled", "careful_compiled")
        found[f"{name}_over_careful_compiled"] = _over(measured, name, WHOLE, "ours", "careful_compiled")
    return found


def step_table(
    measured: Measured, device: Mapping[str, float], work: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Where a step's time goes: an object for each loop of each case, medians over the rounds.

    Args:
        measured: all rounds.
        device: what ``device_rates`` measured; empty where nothing was.
        work: by case, what ``work_of`` counted of one of our steps without compiling; none of other loops.

    Returns:
        ``case``, ``loop``, ``step_ms``, ``peak_bytes`` (of the process so far, validation included where it is
        measured), and of ours also ``data_ms``, ``forward_backward_ms`` and ``optimizer_ms`` (each alone: on a GPU a
        step overlaps them), ``validation_ms`` of a batch, and ``matmul_share`` and ``memory_share`` of the device's
        measured rates; compiled steps move fewer bytes than are counted.
    """
    found = []
    for (case, loop, what), rounds in measured.items():
        if what != WHOLE:
            continue
        seconds = statistics.median(one["seconds"] / one["steps"] for one in rounds)
        row = {"case": case, "loop": loop, "step_ms": 1e3 * seconds}
        row["peak_bytes"] = max(one["peak_bytes"] for one in rounds)
        parts = measured.get((case, loop, PARTS), ())
        for name in ("data_ms", "forward_backward_ms", "optimizer_ms"):
            if parts:
                row[name] = statistics.median(one[name] for one in parts)
        validation = measured.get((case, loop, VALIDATION), ())
        if validation:
            row["validation_ms"] = 1e3 * statistics.median(one["seconds"] / one["steps"] for one in validation)
        if loop.startswith("ours") and device and case in work:
            row["matmul_share"] = work[case]["flops"] / seconds / device["matmul_per_s"]
            row["memory_share"] = work[case]["bytes"] / seconds / device["bytes_per_s"]
        found.append(row)
    return found


def rates(found: Sequence[Mapping[str, float]]) -> list[float]:
    """Images/s of each round."""
    return [one["images"] / one["seconds"] for one in found]


def share(found: Sequence[Mapping[str, float]], key: str) -> float | None:
    """Median over the rounds of the part that ``key`` has of the seconds."""
    return statistics.median(one[key] / one["seconds"] for one in found) if found else None


def _over(measured: Measured, case: str, what: str, ours: str, other: str) -> float | None:
    above, below = (rates(measured.get((case, kind, what), ())) for kind in (ours, other))
    return statistics.median(above) / statistics.median(below) if above and below else None


def _peak_ratio(measured: Measured, case: str) -> float | None:
    """Ours over the baseline, whole processes: interpreter, libraries and loader are part of it."""
    above, below = (
        max((found["peak_bytes"] for found in measured.get((case, kind, WHOLE), ())), default=0.0)
        for kind in ("ours", "baseline")
    )
    return above / below if above and below else None
