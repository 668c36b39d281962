"""What a check found: an area, a level and a sentence; with a warning or a failure, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]
GIGA = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of ``cxr doctor``."""

    area: str
    level: Level
    what: str
    fix: str = ""
    """Empty when all is well."""

    def __post_init__(self) -> None:
        assert (self.level == "ok") == (not self.fix), f"{self.area}: a fix belongs to a warning or a failure"


def ok(area: str, what: str) -> Finding:
    """All is well."""
    return Finding(area=area, level="ok", what=what)


def warn(area: str, what: str, fix: str) -> Finding:
    """Something that may be meant, or costs speed."""
    return Finding(area=area, level="warn", what=what, fix=fix)


def fail(area: str, what: str, fix: str) -> Finding:
    """Something that stops runs, or makes their numbers worthless."""
    return Finding(area=area, level="fail", what=what, fix=fix)
