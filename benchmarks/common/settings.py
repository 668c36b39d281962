"""Options that the benchmarks' commands share, and their checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Bench(ABC):
    """A benchmark, which has a section on the results page."""

    json: Path | None = None
    """Write environment and figures to this file."""
    out: Path | None = None
    """Write the same, a chart and RESULTS.md into this folder."""
    rounds: int = 3
    """Times that each is measured."""

    def run(self) -> None:
        from benchmarks.page.write import show_results

        show_results(self.measure(), self.json, self.out)

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Measure and return the object of ``--json``.

        Raises:
            InputError: for options that make no sense, or if there is no PNG below ``images``.
            ContenderError: if a contender's process ends where its figure cannot be left out.
        """


@dataclass(frozen=True, kw_only=True)
class PicturesBench(Bench):
    """A benchmark on radiographs."""

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it."""


def check_positive(options: Any, *names: str) -> None:
    """Refuse options of these names that are not above 0."""
    for name in names:
        if getattr(options, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be above 0")


def check_names(option: str, given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse names that are not known."""
    for name in given:
        if name not in known:
            raise InputError(f"{option} {name}: no such {what}; known: {', '.join(known)}")


def chosen(options: Any, *names: str) -> dict[str, Any]:
    """Options by name."""
    return {name: getattr(options, name) for name in names}
