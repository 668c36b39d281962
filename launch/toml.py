"""Name what is wrong in users' TOML files in one line, and write values as TOML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datasets.errors import InputError, known_words


def check_keys(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse the first key that is not among the known ones.

    Raises:
        InputError: with the nearest known key and all of them.
    """
    known = tuple(known)
    for key in values:
        if key not in known:
            raise InputError(f"{where}: key {key!r} is unknown; {known_words(key, known)}")


def as_toml(values: Mapping[str, Any]) -> str:
    """Return a TOML document of these values, one key a line, tables as dotted keys."""
    return "".join(f"{key} = {toml_text(value)}\n" for key, value in flat(values))


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their values; TOML has no None, which every key is by default that may be so."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", value


def toml_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {toml_text(inner)}' for key, inner in flat(value))} }}"
    return json.dumps(value, ensure_ascii=False)
