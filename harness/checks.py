"""Checks that config dataclasses share: a value comes in, a ValueError naming key and choices goes out."""

from __future__ import annotations

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
