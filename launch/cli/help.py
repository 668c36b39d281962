"""A command's class comes in; its help page, at most as wide as the terminal, goes out, and its examples.

tyro lists the options; usage, description and examples are set here, since tyro neither wraps them nor joins a
docstring's lines.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import re
import shutil
import textwrap
from itertools import pairwise
from types import MappingProxyType

INDENT = "  "


def help_page(command_class: type, name: str) -> str:
    """Usage, description, examples and options of ``cxr NAME``."""
    import tyro

    use_docstrings(command_class)
    captured = io.StringIO()
    with contextlib.redirect_stdout(captured), contextlib.suppress(SystemExit):
        tyro.cli(command_class, prog=f"cxr {name}", args=["--help"], description="")
    usage, _, options = captured.getvalue().partition("\n\n")
    width = shutil.get_terminal_size().columns
    paragraphs, examples = describe(command_class)
    parts = [_usage(usage, width), *(_wrapped(text, width) for text in paragraphs)]
    if examples:
        title = "Example:" if len(examples) == 1 else "Examples:"
        parts.append("\n".join([title, *(_shell_lines(example, width) for example in examples)]))
    return "\n\n".join([*parts, _tidy(options)])


def _without_none(text: str) -> str:
    """Types without the None of options that may be left out; columns stay where they are."""
    text = re.sub(r"\{None\}\|([^\s\]]+)(\]?)", lambda found: found[1] + found[2] + " " * len("{None}|"), text)
    return re.sub(r"\{None,(\S+)", lambda found: "{" + found[1] + " " * len("None,"), text)


def _tidy(options: str) -> str:
    """tyro's list without defaults that say nothing and without blanks at the ends of lines."""
    options = re.sub(r"\s*\(default:\s+(None)?\)", "", _without_none(options))
    return "\n".join(line.rstrip() for line in options.strip("\n").splitlines())


def describe(command_class: type) -> tuple[list[str], list[str]]:
    """Paragraphs and example commands of a class's docstring; an example follows the word ``Example:``."""
    paragraphs, examples = list[str](), list[str]()
    text = re.sub(r"\n(?=Exit status:)", "\n\n", inspect.cleandoc(command_class.__doc__ or ""))
    for block in re.split(r"\n\s*\n", text):
        prose, *commands = re.split(r"\s*Example: (?=cxr )", " ".join(block.split()))
        paragraphs += [prose] if prose else []
        examples += commands
    return paragraphs, examples


def use_docstrings(command_class: type) -> None:
    """Give each field its docstring as help text, its lines joined."""
    texts: dict[str, str] = {}
    for each in reversed(command_class.__mro__[:-1]):
        texts.update(_field_docstrings(each))
    for field in dataclasses.fields(command_class):
        if field.name in texts:
            field.metadata = MappingProxyType({**field.metadata, "help": texts[field.name]})


def _field_docstrings(each: type) -> dict[str, str]:
    """The string below each annotated name of a class body, by name."""
    try:
        source = textwrap.dedent(inspect.getsource(each))
    except OSError:
        return {}
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node, below in pairwise(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[node.target.id] = " ".join(str(below.value.value).replace("``", "").split())
    return found


def _usage(text: str, width: int) -> str:
    """The usage line, broken between options alone."""
    joined = " ".join(_without_none(text).split())
    unbroken = re.sub(r"\[[^][]*\]", lambda found: found[0].replace(" ", "\xa0"), joined)
    lines = textwrap.fill(unbroken, width, subsequent_indent=" " * 11, break_on_hyphens=False, break_long_words=False)
    return lines.replace("\xa0", " ")


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)


def _shell_lines(command: str, width: int) -> str:
    """A command as it can be pasted, broken before its options where it is too long."""
    lines = [INDENT]
    for word in re.split(r" (?=--)", command):
        if len(lines[-1]) + len(word) + 3 > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append(2 * INDENT + word)
        else:
            lines[-1] += (" " if lines[-1].strip() else "") + word
    return "\n".join(lines)
