"""``cxr completion``: a shell's name comes in; a script that completes commands, options and choices goes out."""

from __future__ import annotations

import dataclasses
import importlib
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script that lets the shell complete cxr's commands, options, choices and files.

    For bash put eval "$(cxr completion bash)" into ~/.bashrc, for zsh eval "$(cxr completion zsh)" into ~/.zshrc; for
    fish write the script to ~/.config/fish/completions/cxr.fish.

    Example: cxr completion bash
    """

    shell: tyro.conf.Positional[Shell]
    """The shell that shall read the script."""

    def run(self) -> None:
        print({"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[self.shell](all_options()), end="")


@dataclass(frozen=True)
class Option:
    """One option of a command, or its positional argument (name '')."""

    name: str
    choices: tuple[str, ...]
    """Values to offer; none means files."""
    takes_value: bool


def all_options() -> dict[str, list[Option]]:
    """Options of every command, by the command's words."""
    from launch.cli import COMMANDS

    return {
        name: options_of(getattr(importlib.import_module(entry.module), entry.name))
        for name, entry in COMMANDS.items()
    }


def options_of(command_class: type) -> list[Option]:
    """Options of one command as its fields say them."""
    hints = get_type_hints(command_class, include_extras=True)
    found = []
    for field in dataclasses.fields(command_class):
        kind, positional = _plain(hints[field.name])
        choices = tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
        name = "" if positional else "--" + field.name.replace("_", "-")
        found.append(Option(name, choices, kind is not bool))
        if kind is bool and field.default is True:
            found.append(Option("--no-" + name.removeprefix("--"), (), False))
    return [*found, Option("--help", (), False)]


def _plain(hint: Any) -> tuple[Any, bool]:
    """The type itself without ``Annotated`` and ``| None``, and whether it is positional."""
    positional = False
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
        positional = tyro.conf.Positional[int].__metadata__[0] in marks  # type: ignore[attr-defined]
    if get_origin(hint) in (Union, types.UnionType):
        (hint, *_) = (part for part in get_args(hint) if part is not type(None))
    return hint, positional


def bash_script(options: dict[str, list[Option]]) -> str:
    """For bash 4 and later."""
    lines = ["# bash completion of cxr", "_cxr() {"]
    lines += ['    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""']
    lines += ['    local command="${COMP_WORDS[1]}"', '    case "$command" in']
    groups = _groups(options)
    lines += [f'        {"|".join(groups)}) command="$command ${{COMP_WORDS[2]}}" ;;', "    esac"]
    lines += ['    case "$COMP_CWORD:${COMP_WORDS[1]}" in']
    lines += [
        f'        1:*) words="{" ".join(dict.fromkeys(name.split()[0] for name in options))} --help --version" ;;'
    ]
    lines += [f'        2:{group}) words="{" ".join(names)} --help" ;;' for group, names in groups.items()]
    lines += ['        *) case "$command:$before" in']
    for name, found in options.items():
        for option in found:
            if option.name and option.takes_value:
                offered = " ".join(option.choices)
                lines.append(f'            "{name}:{option.name}") words="{offered}" ;;')
    lines += ['            *) case "$command" in']
    for name, found in options.items():
        offered = " ".join([*(o.name for o in found if o.name), *(c for o in found if not o.name for c in o.choices)])
        lines.append(f'                "{name}") words="{offered}" ;;')
    lines += ["            esac ;;", "        esac ;;", "    esac"]
    lines += ['    COMPREPLY=($(compgen -W "$words" -- "$word"))', "}"]
    return "\n".join([*lines, "complete -o bashdefault -o default -F _cxr cxr"]) + "\n"


def zsh_script(options: dict[str, list[Option]]) -> str:
    """bash's script, which zsh understands through bashcompinit."""
    start = "autoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"
    return start + bash_script(options)


def fish_script(options: dict[str, list[Option]]) -> str:
    """One line for each command, option and list of choices."""
    groups, lines = _groups(options), ["# fish completion of cxr", "complete -c cxr -n __fish_use_subcommand -f"]
    for first in dict.fromkeys(name.split()[0] for name in options):
        lines.append(f"complete -c cxr -n __fish_use_subcommand -a {first}")
    for group, names in groups.items():
        seen = f"__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {' '.join(names)}"
        lines.append(f"complete -c cxr -f -n '{seen}' -a '{' '.join(names)}'")
    for name, found in options.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        for option in found:
            value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.takes_value else ""
            if option.name:
                lines.append(f"complete -c cxr -n '{seen}' -l {option.name.removeprefix('--')}{value}")
            elif option.choices:
                lines.append(f"complete -c cxr -n '{seen}' -a '{' '.join(option.choices)}'")
    return "\n".join(lines) + "\n"


def _groups(options: dict[str, list[Option]]) -> dict[str, list[str]]:
    """Second words by first word, of the commands of two words."""
    found: dict[str, list[str]] = {}
    for name in options:
        first, _, second = name.partition(" ")
        if second:
            found.setdefault(first, []).append(second)
    return found
