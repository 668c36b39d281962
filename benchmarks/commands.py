"""Register ``cxr bench``: the entry point ``benchmarks`` of the group ``cxr_harness.commands``."""

from __future__ import annotations

from launch.cli.commands import COMMANDS, CommandEntry

for _name, _command, _summary in (
    ("bench loader", "benchmarks.cli:BenchLoader", "measure the loader's tiers beside other loaders"),
    ("bench convert", "benchmarks.cli:BenchConvert", "measure conversion beside Pillow"),
    ("bench step", "benchmarks.cli:BenchStep", "measure training steps beside other loops"),
    ("bench grid", "benchmarks.cli:BenchGrid", "measure plan, status and submit of huge grids"),
):
    COMMANDS.add(_name, CommandEntry(_command, _summary))
