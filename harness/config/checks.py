"""Check the fields of config dataclasses, and write them as plain JSON values."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, ClassVar, get_args

OMIT_DEFAULT = {"omit_default": True}
"""Metadata of a field that a config is written without while it has its default, so that it enters no other config's
hash."""
MAX_COUNT = 10**6
"""Largest count that a config may hold."""


class KnownKeysOnly:
    """Base of config dataclasses: a file with an unknown key is refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


def check(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def check_choice(key: str, value: object, literal: Any) -> None:
    """Raise ValueError unless ``value`` is one of the choices of a Literal type."""
    choices = get_args(literal)
    check(value in choices, f"{key} = {value!r} is unknown; known: {', '.join(map(str, choices))}")


def check_count(key: str, value: int | None, most: int = MAX_COUNT) -> None:
    """Raise ValueError unless the count, if there is one, lies in 1..``most``."""
    check(value is None or value >= 1, f"{key} must be at least 1")
    check(value is None or value <= most, f"{key} must be at most {most:,}")


def check_positive(key: str, value: float | None, advice: str = "") -> None:
    """Raise ValueError unless the number, if there is one, is above 0 and finite."""
    check(value is None or 0.0 < value < math.inf, f"{key} must be positive and finite, found {value}{advice}")


def check_not_negative(key: str, value: float | None, advice: str = "") -> None:
    """Raise ValueError unless the number, if there is one, is at least 0 and finite."""
    check(
        value is None or 0.0 <= value < math.inf,
        f"{key} must not be negative, infinite or NaN, found {value}{advice}",
    )


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, every field written out but for those with ``OMIT_DEFAULT``."""
    result: dict[str, Any] = json.loads(json.dumps(plain(config)))
    return result


def plain(value: Any) -> Any:
    """The values that ``to_dict`` copies. Each config keeps its own, since the runs of a grid share their parts."""
    if dataclasses.is_dataclass(value):
        kept = getattr(value, "__dict__", {})
        if "_plain" not in kept:
            kept["_plain"] = {
                item.name: plain(inner)
                for item in dataclasses.fields(value)
                for inner in [getattr(value, item.name)]
                if not (item.metadata.get("omit_default") and inner == item.default)
            }
        return kept["_plain"]
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
