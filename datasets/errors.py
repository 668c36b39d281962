"""The one exception for bad input: what a user can mend, told in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message names the file, row or key, what was expected, what to do.

    The command line prints the message alone and exits with status 2.
    """
