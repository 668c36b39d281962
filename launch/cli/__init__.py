"""The ``cxr`` command: picks the command's module, lets tyro read its arguments, turns errors into exit statuses.

A command is a frozen dataclass with a ``run`` method; its module is imported only when it is asked for, so that
``cxr grid plan`` never waits for torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


class Command(Protocol):
    """What every command offers."""

    def run(self) -> None:
        """Do the work; raise InputError for bad input."""


@dataclass(frozen=True)
class Entry:
    """One line of ``cxr --help`` and where the command lives."""

    module: str
    name: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "phantom": Entry("launch.cli.phantom", "Phantom", "write made-up datasets in the layouts of the real ones"),
    "split": Entry("launch.cli.split", "Split", "split a dataset by patient and write the manifest"),
    "convert": Entry("launch.cli.convert", "Convert", "turn images and tables into one beton file"),
    "inspect": Entry("launch.cli.inspect", "Inspect", "print what a beton holds and check that it is whole"),
    "models": Entry("launch.cli.models", "Models", "list the networks and their parameter counts"),
    "train": Entry("launch.cli.train", "Train", "train one run from a TOML or JSON config"),
    "evaluate": Entry("launch.cli.evaluate", "Evaluate", "score a run's best checkpoint on a split"),
    "grid plan": Entry("launch.cli.grid", "Plan", "list the runs of a grid and what each needs"),
    "grid submit": Entry("launch.cli.grid_submit", "Submit", "run a grid's missing runs here or on a cluster"),
    "grid status": Entry("launch.cli.grid", "Status", "show where each run of a grid stands"),
    "grid simulate": Entry("launch.cli.grid_simulate", "Simulate", "replay a grid on a simulated cluster"),
    "grid watch": Entry("launch.cli.grid_submit", "Watch", "submit to a cluster and resubmit until all is done"),
    "grid logs": Entry("launch.cli.grid_submit", "Logs", "print the end of a run's log"),
    "grid retry": Entry("launch.cli.grid_submit", "Retry", "submit again the runs that failed"),
    "grid cancel": Entry("launch.cli.grid_submit", "Cancel", "take runs out of a cluster's queue"),
    "bench loader": Entry("launch.cli.bench", "BenchLoader", "measure the loader's tiers beside other loaders"),
    "bench convert": Entry("launch.cli.bench", "BenchConvert", "measure conversion beside Pillow"),
    "bench step": Entry("launch.cli.bench_step", "BenchStep", "measure training steps beside other loops"),
    "bench grid": Entry("launch.cli.bench_grid", "BenchGrid", "measure plan, status and submit of huge grids"),
    "report": Entry("launch.cli.report", "Report", "tables and curves from a folder of runs"),
    "export": Entry("launch.cli.export", "Export", "write a run's weights for others, with card and ONNX"),
    "predict": Entry("launch.cli.predict", "Predict", "probabilities for PNG, JPEG and DICOM files"),
    "doctor": Entry("launch.cli.doctor", "Doctor", "check machine, data and runs; name each fix"),
    "completion": Entry("launch.cli.completion", "Completion", "print a completion script for your shell"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``cxr``; exits with 0, 1 (failure), 2 (bad input) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        _print_help()
        sys.exit(EXIT_OK)
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"cxr-harness {version('cxr-harness')}")
        sys.exit(EXIT_OK)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    from datasets.errors import InputError
    from datasets.logging_setup import set_up_logging

    set_up_logging()
    try:
        words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
        name, rest = " ".join(arguments[:words]), arguments[words:]
        wants_help = not {"-h", "--help"}.isdisjoint(rest)
        if wants_help and name in _groups():
            _print_help(name)
            return EXIT_OK
        if name not in COMMANDS:
            raise InputError(_unknown(arguments))
        entry = COMMANDS[name]
        command_class: type[Command] = getattr(importlib.import_module(entry.module), entry.name)
        if wants_help:
            from launch.cli.help import help_page

            print(help_page(command_class, name))
            return EXIT_OK
        import tyro

        command = tyro.cli(command_class, prog=f"cxr {name}", args=rest)
        command.run()
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return EXIT_OK


def _unknown(arguments: list[str]) -> str:
    """What is wrong with the first words, and the nearest command or all of them."""
    import difflib

    first, groups = arguments[0], _groups()
    if first in groups and (len(arguments) == 1 or arguments[1].startswith("-")):
        return f"cxr {first}: which one? {', '.join(name for name in COMMANDS if name.startswith(f'{first} '))}"
    two = " ".join(arguments[:2])
    near = difflib.get_close_matches(two, [name for name in COMMANDS if " " in name], n=1, cutoff=0.75)
    near = near or difflib.get_close_matches(first, [*COMMANDS, *groups], n=1)
    asked = two if first in groups or (near and " " in near[0]) else first
    hint = f"did you mean 'cxr {near[0]}'?" if near else f"known: {', '.join(COMMANDS)}"
    return f"cxr {asked}: no such command; {hint}"


def _groups() -> list[str]:
    """First words of the commands of two words."""
    return list(dict.fromkeys(name.split()[0] for name in COMMANDS if " " in name))


def _print_help(group: str = "") -> None:
    """All commands, or those of a group."""
    print(f"usage: cxr {group or 'COMMAND'} {'COMMAND ' if group else ''}[OPTIONS]\n")
    if not group:
        print("A training harness for knowledge transfer on chest X-rays.\n")
    width = max(map(len, COMMANDS)) + 2
    for name, entry in COMMANDS.items():
        if name.startswith(f"{group} " if group else ""):
            print(f"  {name:<{width}}{entry.summary}")
    print("\n'cxr COMMAND --help' explains one command, with an example.")
    if not group:
        print("'cxr completion bash' lets your shell complete commands and options.")
        print("Exit status: 0 done, 2 bad input, 1 failure.")
