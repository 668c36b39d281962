"""Repetitions' scores come in; their mean and two 95 % confidence intervals go out.

The paper averages three repetitions. Its interval is read as 1.96 s / sqrt(n) with s over n - 1 degrees of freedom;
Student's interval, which is the honest one at n = 3, stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

NORMAL_QUANTILE = 1.96
"""The rounded value that the field uses, so that our figures equal the paper's to the printed digit."""
_COVERAGE = 0.95


@dataclass(frozen=True)
class Summary:
    """Scores of the repetitions of one cell, in the unit they came in."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """A mean needs at least one finite value."""
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"a summary needs one finite value or more, got {self.values}")

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return math.fsum(self.values) / self.n

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1 in the denominator (ddof 1); None for a single value."""
        if self.n < 2:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))

    @property
    def normal_half(self) -> float | None:
        """Half-width 1.96 s / sqrt(n), the paper's ±; None for a single value."""
        return None if self.std is None else NORMAL_QUANTILE * self.std / math.sqrt(self.n)

    @property
    def t_half(self) -> float | None:
        """Half-width of Student's interval with n - 1 degrees of freedom; None for a single value."""
        return None if self.std is None else t_quantile(self.n - 1) * self.std / math.sqrt(self.n)


def summarise(values: Iterable[float]) -> Summary | None:
    """Summary of ``values``; None when there are none."""
    found = tuple(values)
    return Summary(found) if found else None


@cache
def t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t: 12.706 at 1 degree of freedom, 4.303 at 2.

    P(|T| < t) has a closed form in theta = atan(t / sqrt(degrees)) for whole degrees (Abramowitz and Stegun 26.7.3
    and 26.7.4) and rises with theta, so it is inverted by bisection.
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _central_probability(middle, degrees) < _COVERAGE:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _central_probability(theta: float, degrees: int) -> float:
    sine, cosine = math.sin(theta), math.cos(theta)
    if degrees == 1:
        return 2 * theta / math.pi
    odd = degrees % 2 == 1
    term = total = cosine if odd else 1.0
    for k in range(2 if odd else 1, degrees - 2, 2):
        term *= cosine**2 * k / (k + 1)
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
