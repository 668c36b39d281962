"""Name what is wrong in users' TOML files in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from datasets.errors import InputError


def check_keys(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse the first key that is not among the known ones.

    Raises:
        InputError: with the nearest known key and all of them.
    """
    known = tuple(known)
    for key in values:
        if key not in known:
            raise InputError(f"{where}: key {key!r} is unknown; {known_words(key, known)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean x? `` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def known_words(word: str, known: Iterable[str]) -> str:
    """Return the nearest known word as a question, and all known ones."""
    known = tuple(known)
    return f"{did_you_mean(word, known)}known: {', '.join(known)}"
