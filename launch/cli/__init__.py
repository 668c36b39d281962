"""The ``cxr`` command: find the command's module, let tyro read its arguments, turn errors into exit statuses."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import os
import re
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Sequence
from typing import Any, get_type_hints

from launch.cli.commands import COMMANDS, groups

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
CONTINUED = 4
"""Columns of a help page's box in front of an option; what begins farther right is help."""
SHOW_TRACEBACK = "CXR_TRACEBACK"
"""Environment variable that sends the traceback of an unforeseen error to standard error instead of a file."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``cxr``; exit with 0, 1 (failure), 2 (bad input) or 130 (interrupted)."""
    from datasets.logging_setup import set_up_logging

    if sys.stdout is None:  # closed by the caller (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  stays open as long as the process
    arguments = list(sys.argv[1:] if argv is None else argv)
    set_up_logging()
    status = EXIT_OK
    try:
        _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except KeyboardInterrupt:
        print("interrupted; re-run the same command to resume", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  the outermost shell: each error becomes one line and an exit status
        status = _report_error(error, arguments)
    sys.exit(status)


def _run(arguments: list[str]) -> None:
    from datasets.errors import InputError

    if not arguments or arguments[0] in ("-h", "--help"):
        _print_commands()
        return
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"cxr-harness {version('cxr-harness')}")
        return
    name = _name(arguments)
    rest = arguments[len(name.split()) :]
    wants_help = not {"-h", "--help"}.isdisjoint(rest)
    if name not in COMMANDS:
        if not (wants_help and name in groups()):
            raise InputError(_unknown(arguments))
        _print_commands(name)
        return
    command_class = COMMANDS[name].load()
    if wants_help:
        print(help_page(command_class, name))
        return
    _refuse_unknown_option(command_class, name, rest)
    from launch.ranges import refuse_out_of_range

    command = _parsed(command_class, name, rest)
    refuse_out_of_range(command)
    command.run()


def _refuse_unknown_option(command_class: type[Any], name: str, words: Sequence[str]) -> None:
    """Name the nearest option; tyro would take the value of an unknown one for an argument, and complain of that."""
    from datasets.errors import InputError, did_you_mean

    names = [item.name.replace("_", "-") for item in dataclasses.fields(command_class)]
    known = [f"--{prefix}{option}" for prefix in ("", "no-") for option in names]
    for hint in get_type_hints(command_class, include_extras=True).values():
        known += [
            alias for extra in getattr(hint, "__metadata__", ()) for alias in getattr(extra, "aliases", None) or ()
        ]
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in known:
            hint = did_you_mean(option, known)
            raise InputError(f"cxr {name}: no such option {option}; {hint}see 'cxr {name} --help'")


def _parsed(command_class: type[Any], name: str, words: list[str]) -> Any:
    """Parse the arguments of a command.

    Raises:
        InputError: with what tyro says in the box in which it refuses an argument.
    """
    import tyro

    from datasets.errors import InputError

    told, page = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # for which tyro draws boxes
    try:
        with contextlib.redirect_stdout(page), contextlib.redirect_stderr(told):
            return tyro.cli(command_class, prog=f"cxr {name}", args=words)
    except SystemExit:
        raise InputError(f"cxr {name}: {_in_one_line(told.getvalue())}; see 'cxr {name} --help'") from None


def _in_one_line(box: str) -> str:
    """What a box of tyro's says above its rule, without help texts and the names of Python's types."""
    rows = [line.rstrip("│ ") for line in box.partition("│ ──")[0].splitlines() if line.startswith("│")]
    if rows[0].startswith("│ Missing from "):
        return "missing " + ", ".join(row[6:] for row in rows if re.match(r"│ {5}\S", row)).replace(",, ", ",")
    text = " ".join(row.strip("│ ") for row in rows)
    text = re.sub(r"no type matching (\S+) could be instantiated from \[(.*?)\].*", r"expected \1, found \2", text)
    return text.replace("'None', ", "").rstrip(". ")


def help_page(command_class: type[Any], name: str) -> str:
    """Return tyro's help, its paragraphs wrapped to the terminal; tyro wraps its boxes alone."""
    import tyro

    page = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding or "utf-8")
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        tyro.cli(command_class, prog=f"cxr {name}", args=["--help"])
    page.seek(0)
    kept = (" ", "╭", "│", "╰")  # examples and boxes
    lines = _refilled([line.rstrip() for line in page.read().rstrip().splitlines()])
    spaced = (line.replace(",", ", ") if line.startswith("usage: ") else line for line in lines)  # choices
    return "\n".join(line if line.startswith(kept) else _wrapped(line) for line in spaced)


def _refilled(lines: Sequence[str]) -> list[str]:
    """Fill each option's help anew: tyro keeps the line ends of a docstring whose later lines are indented."""
    filled: list[str] = []
    for line in lines:
        column = len(line) - len(line.lstrip("│ "))
        edge = "│" if line.startswith("│") else ""  # a terminal without Unicode has no boxes
        end = len(line) - 2 if edge else shutil.get_terminal_size().columns
        if column > CONTINUED and filled and filled[-1][column - 2 : column] == "  ":
            text = f"{filled[-1][column:end].rstrip()} {line[column:end].rstrip()}"
            parts = textwrap.wrap(text, end - column, break_long_words=False, break_on_hyphens=False)
            heads = (filled.pop()[:column], *[f"{edge:<{column}}"] * (len(parts) - 1))
            rows = (head + part for head, part in zip(heads, parts, strict=True))
            filled += [f"{row:<{end}} {edge}" if edge else row for row in rows]
        else:
            filled.append(line)
    return filled


def _report_error(error: Exception, arguments: Sequence[str]) -> int:
    """Print one line about ``error``, and return the exit status."""
    from datasets.errors import InputError, one_line
    from datasets.files import DISK_FULL_REASONS

    if isinstance(error, InputError):
        print(f"error: {one_line(error)}", file=sys.stderr)  # a line end in a name would make two lines of one
        return EXIT_BAD_INPUT
    if isinstance(error, OSError) and error.errno is not None:
        reason = DISK_FULL_REASONS.get(error.errno, error.strerror)
        places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
        place = one_line(" -> ".join(places)) or f"cxr {_name(arguments)}"
        print(f"error: {place}: {reason}", file=sys.stderr)
        _discard_stdout()  # else Python would try once more, as it ends, to write what a full disk refused
        return EXIT_BAD_INPUT
    text = " ".join(str(error).split()) or "no message"
    place = _save_traceback(error)
    print(f"error: cxr {_name(arguments)}: {type(error).__name__}: {text[:500]}{place}", file=sys.stderr)
    return EXIT_FAILED


def _save_traceback(error: Exception) -> str:
    """Print the traceback if it is asked for, or write it to a file; return where it is, in words."""
    details = "".join(traceback.format_exception(error))
    if not os.environ.get(SHOW_TRACEBACK):
        with contextlib.suppress(OSError):
            descriptor, path = tempfile.mkstemp(prefix="cxr-", suffix=".log")
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(details)
            return f" (details: {path}; {SHOW_TRACEBACK}=1 prints them)"
    print(details, end="", file=sys.stderr)
    return " (details: above)"


def _name(arguments: Sequence[str]) -> str:
    """Return the command's name, of one word or two."""
    return " ".join(arguments[: 2 if " ".join(arguments[:2]) in COMMANDS else 1])


def _discard_stdout() -> None:
    """Send what is still buffered for standard output nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unknown(arguments: list[str]) -> str:
    """Say what is wrong with the first words: the nearest command, or all of them."""
    first, two = arguments[0], " ".join(arguments[:2])
    inside = [name for name in COMMANDS if name.startswith(f"{first} ")]
    if inside and (len(arguments) == 1 or arguments[1].startswith("-")):
        return f"cxr {first}: which one? {', '.join(inside)}"
    near = difflib.get_close_matches(two, COMMANDS, n=1, cutoff=0.75)
    if not near and not inside:
        near = difflib.get_close_matches(first, [*COMMANDS, *groups()], n=1)
    hint = f"did you mean 'cxr {near[0]}'?" if near else f"known: {', '.join(inside or COMMANDS)}"
    return f"cxr {two if inside else first}: no such command; {hint}"


def _print_commands(group: str = "") -> None:
    """Print all commands, or those of a group."""
    names = [name for name in COMMANDS if name.startswith(f"{group} " if group else "")]
    column = max(map(len, COMMANDS)) + 2
    print(f"usage: cxr {group or 'COMMAND'} {'COMMAND ' if group else ''}[OPTIONS]\n")
    if not group:
        print(f"{_wrapped('A training harness for knowledge transfer on chest X-rays.')}\n")
    for name in names:
        print(_wrapped(f"  {name:<{column}}{COMMANDS[name].summary}", indent=column + 2))
    notes = [
        "'cxr COMMAND --help' explains one command, with an example.",
        "'cxr completion bash' lets your shell complete commands and options.",
        "Exit status: 0 done, 2 bad input, 1 failure.",
        f"{SHOW_TRACEBACK}=1 prints the traceback of a failure, which else goes to a file.",
    ]
    print("\n" + "\n".join(map(_wrapped, notes[:1] if group else notes)))


def _wrapped(text: str, indent: int = 0) -> str:
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
