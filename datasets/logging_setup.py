"""Set up logging to standard error for the command line and for the processes it starts.

Modules log with ``logging.getLogger(__name__)``: notes at INFO, warnings at WARNING. Standard output is left to the
results of commands. Importing this module loads nothing but ``logging``; rich comes in on a terminal alone.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

OUR_PACKAGES = ("datasets", "harness", "launch", "benchmarks")
HANDLER_NAME = "cxr-harness"


def set_up_logging() -> None:
    """Send log records to standard error: notes of these packages, warnings of all others.

    On a terminal rich writes them, so that they do not break a progress bar; elsewhere each is one plain line. Later
    calls change nothing.
    """
    root = logging.getLogger()
    if any(handler.name == HANDLER_NAME for handler in root.handlers):
        return
    handler = _rich_handler() if sys.stderr.isatty() else _PlainHandler()
    handler.name = HANDLER_NAME
    handler.setFormatter(_Formatter())
    handler.addFilter(_from_first_process)
    root.addHandler(handler)
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)


@cache
def stderr_console() -> Console:
    """The one rich console on standard error, shared by log records and progress bars."""
    from rich.console import Console

    return Console(stderr=True)


def _rich_handler() -> logging.Handler:
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    return RichHandler(
        console=stderr_console(), show_time=False, show_level=False, show_path=False, highlighter=NullHighlighter()
    )


def _from_first_process(record: logging.LogRecord) -> bool:
    """Whether to write a record: of a distributed run's processes the first writes notes and warnings, all errors."""
    return record.levelno >= logging.ERROR or os.environ.get("RANK", "0") == "0"


class _Formatter(logging.Formatter):
    """The message alone for notes, ``warning: ...`` and ``error: ...`` above."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _PlainHandler(logging.StreamHandler[TextIO]):
    """One line for each record on whatever ``sys.stderr`` is when the record is written."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Ignore a stream given by ``StreamHandler``; there is none to keep."""
