"""Ranges of numeric options, as annotations of their fields, which are checked before a command runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from datasets.errors import InputError


class Range(NamedTuple):
    """Values that an option may have beside None."""

    words: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Range("at least 1", lambda value: value >= 1)]
NotNegative = Annotated[int, Range("0 or more", lambda value: value >= 0)]
Amount = Annotated[float, Range("0 or more", lambda value: 0 <= value < math.inf)]
Positive = Annotated[float, Range("a number above 0", lambda value: 0 < value < math.inf)]
Share = Annotated[float, Range("above 0 and at most 1", lambda value: 0 < value <= 1)]


def refuse_out_of_range(options: object) -> None:
    """Check the fields of a dataclass by their annotations.

    Raises:
        InputError: naming the first option outside of its range.
    """
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, name, None)
        for its in _ranges(hint):
            if value is not None and not its.holds(value):
                raise InputError(f"--{name.replace('_', '-')} {value:g}: expected {its.words}")


def _ranges(hint: Any) -> Iterator[Range]:
    """The ranges within an annotation, as that of ``Count | None``."""
    if isinstance(hint, Range):
        yield hint
    else:
        for part in get_args(hint):
            yield from _ranges(part)
