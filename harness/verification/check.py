"""One check of a run, its outcome in words, and the certificate of all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from datasets.errors import InputError
from harness.runs.provenance import environment

Outcome = Literal["held", "failed", "not checked"]
LAST_DIGITS = 1e-12
"""Relative difference that two processors' logarithms may leave in a mean of float64."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the certificate."""

    name: str
    outcome: Outcome
    what: str
    """What was compared and how exactly it agrees, what differs, or why nothing could be compared."""
    expected: Any = None
    """What the run's files say."""
    found: Any = None
    """What was computed of them now."""
    advice: str = ""
    """What would make a check possible that was not."""


def compared(name: str, what: str, *, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Check:
    """Compare values by their names; numbers may differ in their last digits."""
    wrong = [key for key, value in expected.items() if not _close(value, found.get(key))]
    if wrong:
        what = "; ".join(f"{key} is {_short(found.get(key))}, expected {_short(expected[key])}" for key in wrong)
    return Check(
        name=name, outcome="failed" if wrong else "held", what=what, expected=dict(expected), found=dict(found)
    )


def not_checked(name: str, why: str, advice: str, **values: Any) -> Check:
    """Something that cannot be computed here, and what would make it possible."""
    return Check(name=name, outcome="not checked", what=why, advice=advice, **values)


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check, failed with the reason where a file of the run cannot be used."""
    try:
        return check()
    except (InputError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return Check(name=name, outcome="failed", what=kind + " ".join(str(error).split()))


def certificate(run_id: str, checks: Sequence[Check], *, arithmetic: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The content of certificate.json."""
    counts = Counter(check.outcome for check in checks)
    return {
        "run_id": run_id,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "held": counts["held"],
        "failed": counts["failed"],
        "not_checked": counts["not checked"],
        "steps": steps,
        "arithmetic": dict(arithmetic),
        **{key: value for key, value in environment().items() if key not in ("started", "slurm")},
        "checks": [asdict(check) for check in checks],
    }


def _close(expected: Any, found: Any) -> bool:
    """Whether two plain values agree but for the last digits of their numbers."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(_close(value, found[key]) for key, value in expected.items())
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=LAST_DIGITS)
    return bool(expected == found)


def _short(value: Any) -> str:
    """A value in a line."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
