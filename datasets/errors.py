"""The one exception for bad input: what a user can mend, told in one line."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used; the message names the file, row or key, what was expected, what to do.

    The command line prints the message alone and exits with status 2.
    """


def check(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def one_line(text: object) -> str:
    """A text, such as a file's name, as it can be printed in one line: control characters and odd bytes escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean x? `` where a known word is near, else nothing."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def known_words(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, and all known ones."""
    known = tuple(known)
    return f"{did_you_mean(word, known)}known: {', '.join(known)}"
