"""Mean and 95 % confidence intervals over the repetitions of a configuration.

The paper averages three repetitions. Its interval is read as 1.96 s / sqrt(n) with s over n - 1 degrees of freedom;
Student's interval, which is the honest one at n = 3, stands beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

NORMAL_QUANTILE = 1.96
"""The rounded value that the field uses, so that our figures equal the paper's to the printed digit."""


@dataclass(frozen=True)
class Summary:
    """Scores of the repetitions of one cell, in the unit they came in; a single one has no interval (None)."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"a summary needs one finite value or more, got {self.values}")

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1 in the denominator (ddof 1)."""
        return statistics.stdev(self.values, self.mean) if self.n > 1 else None

    @property
    def normal_half(self) -> float | None:
        """Half-width 1.96 s / sqrt(n), the paper's ±."""
        return None if self.std is None else NORMAL_QUANTILE * self.std / math.sqrt(self.n)

    @property
    def t_half(self) -> float | None:
        """Half-width of Student's interval with n - 1 degrees of freedom."""
        return None if self.std is None else t_quantile(self.n - 1) * self.std / math.sqrt(self.n)


def summarise(values: Iterable[float]) -> Summary | None:
    """Summary of ``values``; None when there are none."""
    found = tuple(values)
    return Summary(found) if found else None


@cache
def t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t: 12.706 at 1 degree of freedom, 4.303 at 2."""
    from scipy.special import stdtrit  # scipy.stats.t.ppf without importing scipy.stats, which takes a second

    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    return float(stdtrit(degrees, 0.975))
