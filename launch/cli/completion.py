"""``cxr completion``: print a shell script that completes commands, options, choices and files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import tyro

Shell = Literal["bash", "zsh", "fish", "tcsh"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script that lets the shell complete cxr's commands, options, choices and files.

    For bash put eval "$(cxr completion bash)" into ~/.bashrc; for zsh write the script to a file _cxr in a folder of
    $fpath, for fish to ~/.config/fish/completions/cxr.fish.

    For example:
        cxr completion bash
    """

    shell: tyro.conf.Positional[Shell]
    """The shell that shall read the script."""

    def run(self) -> None:
        import shtab

        print(shtab.complete(full_parser(), self.shell), end="")


def full_parser() -> Any:
    """Return one parser of all commands, as shtab reads it."""
    import shtab

    from launch.cli.commands import COMMANDS

    members: dict[str, dict[str, type]] = {}
    for name, entry in COMMANDS.items():
        group, _, word = name.rpartition(" ")
        members.setdefault(group, {})[word] = entry.load()
    for group, commands in list(members.items()):
        # tyro makes no group of one command, argparse no word that is both a command and a group, as convert is.
        if group in COMMANDS or len(commands) == 1:
            del members[group]
    top: dict[str, Any] = {**members.pop(""), **{group: _either(commands) for group, commands in members.items()}}
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        parser = tyro.extras.get_parser(_either(top), prog="cxr")
    for action in _actions(parser):
        if action.choices is None and action.nargs != 0:
            action.complete = shtab.FILE
    return parser


def _either(commands: dict[str, Any]) -> Any:
    """The union of subcommands by name, as tyro reads it."""
    return Union[tuple(Annotated[kind, tyro.conf.subcommand(word)] for word, kind in commands.items())]  # noqa: UP007


def _actions(parser: Any) -> Iterator[Any]:
    """All options and arguments of a parser and of those below it."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action
