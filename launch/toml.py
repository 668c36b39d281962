"""Read TOML files of users, and name what is wrong in them in one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets.errors import InputError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; ``what`` names it in messages.

    Raises:
        InputError: when it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{what} {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None


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
