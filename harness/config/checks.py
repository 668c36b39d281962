"""Check the fields of config dataclasses, and write them as plain JSON values."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from typing import Any, get_args

from datasets.errors import check

OMIT_DEFAULT = {"omit_default": True}
"""Metadata of a field that a config is written without while it has its default, so that it enters no other config's
hash."""
_NEVER = object()
MAX_COUNT = 10**6
"""Largest count that a config may hold."""


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
    result: dict[str, Any] = json.loads(as_json_text(config))
    return result


def as_json_text(config: Any, *, sort_keys: bool = False) -> str:
    """The JSON text of what ``to_dict`` returns, as ``json.dumps`` writes it.

    Each part of a config keeps its own text, since the runs of a grid share their parts.
    """
    texts = (
        f'"{name}": {_value_text(inner, sort_keys)}'
        for name, omitted in _written_fields(config.__class__, sort_keys)
        for inner in [getattr(config, name)]
        if not (inner is omitted or inner == omitted)
    )
    return f"{{{', '.join(texts)}}}"


def _value_text(value: Any, sort_keys: bool) -> str:
    if dataclasses.is_dataclass(value):
        kept, key = getattr(value, "__dict__", {}), "_sorted_text" if sort_keys else "_text"
        if key not in kept:
            kept[key] = as_json_text(value, sort_keys=sort_keys)
        text: str = kept[key]
        return text
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value_text(inner, sort_keys) for inner in value)}]"
    return json.dumps(value, sort_keys=True) if sort_keys and isinstance(value, dict) else json.dumps(value)


@cache
def _written_fields(kind: type, sort_keys: bool) -> tuple[tuple[str, Any], ...]:
    """Names of a config's fields in the order of the text, each with the value with which it is left out."""
    fields = sorted(dataclasses.fields(kind), key=lambda item: item.name) if sort_keys else dataclasses.fields(kind)
    return tuple((item.name, item.default if item.metadata.get("omit_default") else _NEVER) for item in fields)
