"""Write the results page's sections on steps, grids and science checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets.files import read_json

STEP_AIMS: dict[str, tuple[float, float]] = {
    "attention_transfer_121": (1.8, 2.5),
    "transfer_learning_121": (1.7, 2.2),
    "attention_transfer_121_over_careful": (1.0, 1.15),
    "transfer_learning_121_over_careful": (1.0, 1.15),
    "validation": (1.8, 3.0),
    "validation_over_careful": (1.1, 1.5),
    "attention_transfer_121_compiled": (2.1, 3.0),
    "transfer_learning_121_compiled": (2.1, 2.8),
    "attention_transfer_121_compiled_over_careful": (1.15, 1.4),
    "transfer_learning_121_compiled_over_careful": (1.15, 1.4),
}
STEP_BOUNDS: dict[str, tuple[float, float]] = {
    "data_wait_share": (0.01, 0.001),
    "overhead_share": (0.02, 0.005),
    "peak_memory_attention_transfer_121": (0.8, 0.6),
}
"""Ratios that are better the smaller they are."""


def other_sections(folder: Path, rates: Callable[[list[Mapping[str, Any]]], str]) -> list[str]:
    """The sections for what lies in ``folder`` of ``first_batch``, ``step``, ``step-gpu``, ``loader-gpu`` and
    ``grid.json``, of ``step-MACHINE.json``, ``gpu.md`` and ``science.md``.

    Args:
        folder: where the measurements lie.
        rates: makes a table of rows that have images/s.
    """
    parts = []
    if (folder / "first_batch.json").is_file():
        parts.append(_first_batch(read_json(folder / "first_batch.json")))
    if (folder / "step.json").is_file():
        parts.append(_step(read_json(folder / "step.json"), rates, "Training steps"))
    others = (read_json(path) for path in sorted(folder.glob("step-*.json")))
    parts += [
        _step(one, rates, f"Training steps on {one['environment']['cpu']}")
        for one in others
        if one["environment"]["gpu"] is None
    ]
    parts += _on_gpu(folder, rates)
    if (folder / "grid.json").is_file():
        parts.append(_grid(read_json(folder / "grid.json")))
    if (folder / "science.md").is_file():
        parts.append((folder / "science.md").read_text(encoding="utf-8").strip())
    return parts


def circumstances(environment: Mapping[str, Any]) -> str:
    """Command, machine, versions, commit and load of a measurement."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    gpu = environment["gpu"] or "no GPU"
    return "\n".join(
        [
            f"- command: `{environment['command']}`",
            f"- machine: {environment['cpu']}, {environment['cores']} cores, {environment['memory_gb']} GB, {gpu}",
            f"- system: {environment['system']}, Python {environment['python']}",
            f"- versions: {versions}",
            f"- commit {environment['commit']}, {environment['date']}, load average "
            f"{environment['load_average']} before",
        ]
    )


def _on_gpu(folder: Path, rates: Callable[[list[Mapping[str, Any]]], str]) -> list[str]:
    """What was measured on a GPU; ``gpu.md`` is written by hand."""
    parts = []
    if (folder / "step-gpu.json").is_file():
        parts.append(_step(read_json(folder / "step-gpu.json"), rates, "On a GPU: training steps"))
    if (folder / "gpu.md").is_file():
        parts.append((folder / "gpu.md").read_text(encoding="utf-8").strip())
    if (folder / "loader-gpu.json").is_file():
        measured = read_json(folder / "loader-gpu.json")
        about, outputs = measured["environment"], "; ".join({row["output"]: None for row in measured["rows"]})
        what = f"- what: {about['samples']:,} samples of {about['radiographs']:,} radiographs, batches of "
        what += f"{about['batch_size']}, {about['workers']} workers; {outputs}"
        parts += ["## On a GPU: loaders", circumstances(about) + "\n" + what, rates(measured["rows"])]
    return parts


def _step(measured: Mapping[str, Any], rates: Callable[[list[Mapping[str, Any]]], str], title: str) -> str:
    parts = [f"## {title}", circumstances(measured["environment"]), measured["environment"].get("note", "")]
    for output in dict.fromkeys(row["output"] for row in measured["rows"]):
        parts += [f"### {output}", rates([row for row in measured["rows"] if row["output"] == output])]
    lines = ["| ratio | measured | asked | aim | |", "|---|---:|---:|---:|---|"]
    for name, value in measured["ratios"].items():
        if value is not None:
            lines.append(f"| {name} | {value:.4g} | {_asked(name, value)} |")
    return "\n\n".join([part for part in parts if part] + ["### Ratios of steps", "\n".join(lines)])


def _asked(name: str, value: float) -> str:
    if name in STEP_AIMS:
        least, aim = STEP_AIMS[name]
        verdict = "aim reached" if value >= aim else "reached" if value >= least else "missed"
        return f"at least {least:g} | {aim:g} | {verdict}"
    if name in STEP_BOUNDS:
        most, aim = STEP_BOUNDS[name]
        verdict = "aim reached" if value <= aim else "reached" if value <= most else "missed"
        return f"at most {most:g} | {aim:g} | {verdict}"
    return " | | "


def _first_batch(measured: Mapping[str, Any]) -> str:
    lines = ["| start | seconds, median | spread (IQR) | rounds |", "|---|---:|---:|---:|"]
    for row in measured["rows"]:
        lines.append(f"| {row['start']} | {row['seconds']:.2f} | {row['spread']:.2f} | {row['rounds']} |")
    what = "From before the process is started until the first batch is there. Asked of a second start: under 2 s."
    return "\n\n".join(["## First batch", circumstances(measured["environment"]), what, "\n".join(lines)])


def _grid(measured: Mapping[str, Any]) -> str:
    lines = [
        "| command | runs | seconds, median | spread (IQR) | CPU seconds | rounds | calls |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in measured["rows"]:
        calls = ", ".join(f"{count} {name}" for name, count in row.get("calls", {}).items())
        figures = f"{row['seconds']:.2f} | {row['spread']:.2f} | {row['cpu_seconds']:.2f} | {row['rounds']}"
        lines.append(f"| {row['command']} | {row['runs']:,} | {figures} | {calls} |")
    both = measured["ratios"].get("plan_and_status_20000_s")
    total = "" if both is None else f"Plan and status of 20,000 runs: {both:.2f} s; asked: 20 s, aim 5 s."
    title = "## Grids of many runs"
    what = "Whole commands over made-up run folders; submit queues against a recorded sbatch, a fake that says yes."
    return "\n\n".join([title, circumstances(measured["environment"]), what, "\n".join(lines), total]).strip()
