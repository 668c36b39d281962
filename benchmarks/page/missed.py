"""Say why an aim is missed."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.common.contenders import LOADER_RATIOS
from benchmarks.conversion.contenders import CONVERT_RATIOS
from benchmarks.page.sections import STEP_AIMS, STEP_BOUNDS, Measured


def missed(measured: Measured, reasons: Mapping[str, str]) -> list[str]:
    """A list of the ratios that are below what they must reach, with what is in the way.

    Args:
        measured: a benchmark's JSON.
        reasons: by ratio's name, from ``reasons.json``, which people write: it holds no figure that is measured.
    """
    least = {name: ratio.least for name, ratio in (LOADER_RATIOS | CONVERT_RATIOS).items()}
    least |= {name: bound for name, (bound, _) in STEP_AIMS.items()}
    most = {name: bound for name, (bound, _) in STEP_BOUNDS.items()}
    found = {name: value for name, value in measured.get("ratios", {}).items() if value is not None}
    names = [
        name
        for name, value in found.items()
        if value < least.get(name, float("-inf")) or value > most.get(name, float("inf"))
    ]
    lines = [f"- {name}: {reasons.get(name, 'no reason is known yet')}" for name in names]
    return ["Missed, and what is in the way:\n\n" + "\n".join(lines)] if lines else []
