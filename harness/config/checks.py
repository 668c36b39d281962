"""Check the fields of config dataclasses, and write them as plain JSON values."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

STRICT: dict[str, Any] = {"extra": "forbid"}
"""pydantic's setting under which an unknown key is refused."""
OMIT_IF_NONE = {"omit_if_none": True}
"""Metadata of a field that a config is written without while it is None, so that it enters no other config's hash."""

OMIT_IF_FALSE = {"omit_if_false": True}
"""The same for a switch while it is off."""


def check(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def check_choice(key: str, value: object, literal: Any) -> None:
    """Raise ValueError unless ``value`` is one of the choices of a Literal type."""
    choices = get_args(literal)
    check(value in choices, f"{key} = {value!r} is unknown; known: {', '.join(map(str, choices))}")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, every field written out but for what ``OMIT_IF_NONE`` and its like say."""
    result: dict[str, Any] = json.loads(json.dumps(plain(config)))
    return result


def plain(value: Any) -> Any:
    """The values that ``to_dict`` copies. Each config keeps its own, since the runs of a grid share their parts."""
    if dataclasses.is_dataclass(value):
        kept = getattr(value, "__dict__", {})
        if "_plain" not in kept:
            items = [(item, getattr(value, item.name)) for item in dataclasses.fields(value)]
            kept["_plain"] = {
                item.name: plain(inner)
                for item, inner in items
                if not (inner is None and item.metadata.get("omit_if_none"))
                and not (inner is False and item.metadata.get("omit_if_false"))
            }
        return kept["_plain"]
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
