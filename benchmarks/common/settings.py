"""Check the options of the benchmarks' commands."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from datasets.errors import InputError


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
