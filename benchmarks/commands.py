"""Register ``cxr bench``: the entry point ``benchmarks`` of the group ``cxr_harness.commands``."""

from __future__ import annotations

from launch.cli.commands import COMMANDS, CommandEntry

for _name, _command, _summary in (
    ("bench all", "benchmarks.whole.bench:BenchAll", "measure all, or quickly what this machine can feed"),
    ("bench loader", "benchmarks.loaders.bench:BenchLoader", "measure the loader's tiers beside other loaders"),
    ("bench first-batch", "benchmarks.loaders.first_batch:BenchFirstBatch", "measure a process's first batch"),
    ("bench scaling", "benchmarks.scaling.bench:BenchScaling", "measure loaders by workers, size, batch and disk"),
    ("bench convert", "benchmarks.conversion.bench:BenchConvert", "measure conversion beside the usual decoders"),
    ("bench step", "benchmarks.step.bench:BenchStep", "measure training steps beside other loops"),
    ("bench result", "benchmarks.result.bench:BenchResult", "measure the first step and epochs of cxr train"),
    ("bench node", "benchmarks.node.bench:BenchNode", "measure several runs at once on one GPU or machine"),
    ("bench grid", "benchmarks.grids.bench:BenchGrid", "measure plan, status and submit of huge grids"),
):
    COMMANDS.add(_name, CommandEntry(_command, _summary))
