"""Say why an aim is missed."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.common.contenders import LOADER_RATIOS
from benchmarks.conversion.contenders import CONVERT_RATIOS
from benchmarks.page.sections import STEP_AIMS, STEP_BOUNDS, Measured


def missed(measured: Measured, reasons: Mapping[str, str]) -> list[str]:
    """A list of what is in the way, with the ratios that for it are below what they must reach.

    Args:
        measured: a benchmark's JSON.
        reasons: by ratio's name, from ``reasons.json``, which people write from what a profile shows.
    """
    least = {name: ratio.least for name, ratio in (LOADER_RATIOS | CONVERT_RATIOS).items()}
    least |= {name: bound for name, (bound, _) in STEP_AIMS.items()}
    most = {name: bound for name, (bound, _) in STEP_BOUNDS.items()}
    found = {name: value for name, value in measured.get("ratios", {}).items() if value is not None}
    named: dict[str, list[str]] = {}
    for name, value in found.items():
        if value < least.get(name, float("-inf")) or value > most.get(name, float("inf")):
            named.setdefault(reasons.get(name, "no reason is known yet"), []).append(name)
    lines = [f"- {', '.join(names)}: {reason}" for reason, names in named.items()]
    return ["Missed, and what is in the way:\n\n" + "\n".join(lines)] if lines else []
