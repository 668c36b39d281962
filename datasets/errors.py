"""The one exception for bad input: what a user can mend, told in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message names the file, row or key, what was expected, what to do.

    The command line prints the message alone and exits with status 2.
    """


def one_line(text: object) -> str:
    """A text, such as a file's name, as it can be printed in one line: control characters and odd bytes escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )
