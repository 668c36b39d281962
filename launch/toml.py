"""Name what is wrong in users' TOML files in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
