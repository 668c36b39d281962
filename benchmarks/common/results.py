"""Summarise rates by round: medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.contenders import Contender, Ratio
from benchmarks.common.environment import load_average
from benchmarks.common.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    name: str
    title: str
    output: str
    ours: bool
    images_per_s: float | None
    """Median over the rounds; None for what is absent."""
    spread: float | None
    """Interquartile range over the rounds, in images/s."""
    rounds: int
    values: tuple[float, ...]
    """Images/s of each round."""
    absent: str | None = None
    """Why there is no figure."""
    reads: str = ""
    """What is read."""
    workers: str = ""
    """How many threads or processes."""
    bytes_per_image: float | None = None
    """What is stored of each image."""

    @classmethod
    def of(
        cls,
        contender: Contender,
        values: Sequence[float],
        absent: str | None = None,
        pictures: Pictures | None = None,
    ) -> Row:
        """The row of a contender's ``values``; ``pictures`` are what a loader has read."""
        more: dict[str, Any] = {}
        if pictures is not None:
            more["reads"] = contender.reads.replace("JPEG", f"JPEG {pictures.size}")
            more["workers"] = f"{pictures.workers} {contender.workers}"
            more["bytes_per_image"] = contender.bytes_per_image(pictures) if values else None
        return cls(
            **{name: getattr(contender, name) for name in ("name", "title", "output", "ours")},
            **more,
            images_per_s=statistics.median(values) if values else None,
            spread=spread(values) if values else None,
            rounds=len(values),
            values=tuple(values),
            absent=absent,
        )


def spread(values: Sequence[float]) -> float:
    """Interquartile range (linear between the values); 0 for a single one."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def ratios(rows: Sequence[Row], wanted: Mapping[str, Ratio]) -> dict[str, float | None]:
    """Median of ours over the fastest median of the others; None where either side was not measured."""
    rates = {row.name: row.images_per_s for row in rows}
    found: dict[str, float | None] = {}
    for name, ratio in wanted.items():
        above = rates.get(ratio.ours)
        below = max((rate for other in ratio.others if (rate := rates.get(other)) is not None), default=None)
        found[name] = above / below if above is not None and below else None
    return found


def as_json(environment: Mapping[str, Any], rows: Sequence[Row], found: Mapping[str, float | None]) -> dict[str, Any]:
    """The object that ``--json`` writes, with the load at the end of the measurement."""
    about = {**environment, "load_average_after": load_average()}
    return {"environment": about, "rows": [asdict(row) for row in rows], "ratios": dict(found)}
