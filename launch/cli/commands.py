"""Register the commands of ``cxr``: one line of help each, and where the command lives.

A command is a frozen dataclass with a ``run`` method; its module is imported only when the command is asked for, so
that ``cxr grid plan`` never waits for torch. Another package's commands are registered by an entry point of the group
``cxr_harness.commands``.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from datasets.registry import Registry


@dataclass(frozen=True)
class CommandEntry:
    """One line of ``cxr --help`` and the ``module:Class`` of the command."""

    command: str
    summary: str

    def load(self) -> type[Any]:
        """Import the command's class; its help offers no ``None`` for options that need not be given."""
        import tyro

        command: type[Any] = pkgutil.resolve_name(self.command)
        hints = get_type_hints(command, include_extras=True)
        for item in dataclasses.fields(command):
            if item.default in (None, ()):
                optional = (tyro.conf.DisallowNone, tyro.conf.arg(help_behavior_hint=""))
                command.__annotations__[item.name] = Annotated[hints[item.name], *optional]
        return command


COMMANDS = Registry[CommandEntry]("command", "cxr_harness.commands")

for _name, _command, _summary in (
    ("phantom", "launch.cli.data:Phantom", "write made-up datasets in the layouts of the real ones"),
    ("split", "launch.cli.convert:Split", "split a dataset by patient and write the manifest"),
    ("split table", "launch.cli.convert:SplitTable", "split a dataset of one's own"),
    ("convert", "launch.cli.convert:Convert", "turn images and tables into one beton file"),
    ("convert table", "launch.cli.convert:ConvertTable", "turn tables of one's own into one, by a spec"),
    ("inspect", "launch.cli.data:Inspect", "print what a beton holds and check that it is whole"),
    ("beton merge", "launch.cli.data:Merge", "merge betons of one dataset, or of several, into one"),
    ("models", "launch.cli.models:Models", "list the networks and their parameter counts"),
    ("train", "launch.cli.train:Train", "train one run from a TOML or JSON config"),
    ("evaluate", "launch.cli.model.evaluate:Evaluate", "score a run's best checkpoint on a split"),
    ("scores", "launch.cli.model.scores:Scores", "score a run by label and group, with intervals"),
    ("verify", "launch.cli.model.verify:Verify", "compute a run's files again and certify what held"),
    ("explain", "launch.cli.model.explain:Explain", "draw or score where a run's network looks"),
    ("grid plan", "launch.cli.grid.plan:Plan", "list the runs of a grid and what each needs"),
    ("grid submit", "launch.cli.grid.submit:Submit", "run a grid's missing runs here or on a cluster"),
    ("grid sweep", "launch.cli.grid.sweep:Sweep", "run a config under lists of values, as a grid"),
    ("grid status", "launch.cli.grid.plan:Status", "show where each run of a grid stands"),
    ("grid simulate", "launch.cli.grid.simulate:Simulate", "replay a grid on a simulated cluster"),
    ("grid watch", "launch.cli.grid.submit:Watch", "submit to a cluster and resubmit until all is done"),
    ("grid logs", "launch.cli.grid.submit:Logs", "print the end of a run's log"),
    ("grid retry", "launch.cli.grid.submit:Retry", "submit again the runs that failed"),
    ("grid clean", "launch.cli.grid.submit:Clean", "free the disk of what only resuming needs"),
    ("grid drill", "launch.cli.grid.drill:Drill", "try what a cluster does to runs, and what survives"),
    ("grid cancel", "launch.cli.grid.submit:Cancel", "take runs out of a cluster's queue"),
    ("power", "launch.cli.power:Power", "the smallest differences that a grid can show"),
    ("report", "launch.cli.report:Report", "tables and curves from a folder of runs"),
    ("export", "launch.cli.model.export:Export", "write a run's weights for others, with card and ONNX"),
    ("predict", "launch.cli.model.predict:Predict", "probabilities for PNG, JPEG and DICOM files"),
    ("doctor", "launch.cli.doctor:Doctor", "check machine, data and runs; name each fix"),
    ("completion", "launch.cli.completion:Completion", "print a completion script for your shell"),
):
    COMMANDS.add(_name, CommandEntry(_command, _summary))


def groups() -> list[str]:
    """First words of the commands of two words."""
    return list(dict.fromkeys(name.split()[0] for name in COMMANDS if " " in name))
