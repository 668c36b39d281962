"""Write the sections of the results page in Markdown: every figure, its spread and its circumstances."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.common.contenders import LOADER_RATIOS, LOADERS, OTHER_PIXELS, Ratio
from benchmarks.conversion.contenders import CONVERT_RATIOS, CONVERTERS

TITLES = {"loader": "Loaders", "convert": "Conversion"}
RATIO_TITLES = {"Ratios of the same work": True, "Ratios of each as its users would set it up": False}
"""Whether the rows compared read the same and do the same."""
STEP_AIMS: dict[str, tuple[float, float]] = {
    "attention_transfer_121": (1.8, 2.5),
    "transfer_learning_121": (1.7, 2.2),
    "attention_transfer_121_over_careful": (1.0, 1.15),
    "transfer_learning_121_over_careful": (1.0, 1.15),
    "validation": (1.8, 3.0),
    "validation_over_careful": (1.1, 1.5),
    "attention_transfer_121_loader_free": (1.6, 1.8),
    "transfer_learning_121_loader_free": (1.4, 1.7),
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

Measured = Mapping[str, Any]


def table(header: str, rows: Iterable[str]) -> str:
    """A Markdown table; cells are separated by ``|``, and those of a column that begins with ``>`` are numbers."""
    columns = [cell.strip() for cell in header.split("|")]
    names = " | ".join(cell.removeprefix(">") for cell in columns)
    rule = "|".join("---:" if cell.startswith(">") else "---" for cell in columns)
    return "\n".join([f"| {names} |", f"|{rule}|", *(f"| {row} |" for row in rows)])


def loader_section(measured: Measured) -> str:
    """Loaders or conversion: circumstances, one table for each output, and the ratios."""
    environment = measured["environment"]
    kind = environment["kind"]
    wanted = LOADER_RATIOS if kind == "loader" else CONVERT_RATIOS
    parts = [f"## {TITLES[kind]}", circumstances(environment), environment["note"], *_by_output(measured)]
    contenders = LOADERS if kind == "loader" else CONVERTERS
    for title, same in RATIO_TITLES.items():
        some = {name: ratio for name, ratio in wanted.items() if ratio.same_work(contenders) == same}
        if any(measured["ratios"].get(name) is not None for name in some):
            parts += [f"### {title}", _ratios(some, measured["ratios"]), again(environment)]
    if "mimic_tables" in measured:
        parts += ["### Opening MIMIC-CXR's tables", _mimic_tables(measured["mimic_tables"]), again(environment)]
    return "\n\n".join(parts)


def machine(environment: Measured) -> str:
    """Processor, cores, memory and GPU: the machine that has a section of its own on the page."""
    return f"{environment['cpu']}, {environment['cores']} cores, {environment['memory_gb']} GB, " + (
        environment["gpu"] or "no GPU"
    )


def again(environment: Measured, only: Iterable[str] = ()) -> str:
    """The line below a table: the command that measures its rows again and prints them, writing no file."""
    words = shlex.split(environment["command"])
    chosen = ["--only", *only] if only else []
    dropped = ["--out", "--json", *chosen[:1]] if words[0] == "cxr" else []
    kept: list[str] = []
    option = ""
    for word in words:
        option = word.partition("=")[0] if word.startswith("--") else option
        kept += [] if option in dropped else [word]
    return f"Again: `{shlex.join([*kept, *chosen])}`"


def _ratios(wanted: Mapping[str, Ratio], found: Mapping[str, float | None]) -> str:
    shown = []
    for name, ratio in wanted.items():
        value = found.get(name)
        said = " | " if value is None else f" | {_verdict(value, ratio.least, ratio.aim)}"
        measured = "not measured" if value is None else f"{value:.2f}"
        shown.append(f"{name} | {measured} | {ratio.least:g} | {ratio.aim:g}{said}")
    return table("ratio | >measured | >at least | >aim | ", shown)


def circumstances(environment: Measured) -> str:
    """Command, system, versions, commit and load of a measurement, and how much was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    before = environment.get("load_average", "not recorded")
    after = f" and {environment['load_average_after']} after" if "load_average_after" in environment else ""
    lines = [
        f"command: `{environment['command']}`",
        *_amount(environment),
        f"system: {environment['system']}, Python {environment['python']}",
        f"versions: {versions}",
        f"commit {environment['commit']}, {environment['date']}, load average {before} before{after}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _amount(environment: Measured) -> list[str]:
    pictures = f"{environment.get('radiographs', 0):,} {'made-up ' * environment.get('made_up', False)}radiographs"
    if environment["kind"] == "loader":
        yield_s = f"{environment['workers']} workers, {environment['seconds']:g} s for each contender and round"
        shape = f"{environment['size']}x{environment['size']}, batches of {environment['batch_size']}"
        return [f"what: {environment['samples']:,} samples of {pictures}, {shape}, {yield_s}"]
    if environment["kind"] == "convert":
        files = f"{environment['png']:,} PNG and {environment['large']:,} large JPEG files"
        each = f"{environment['large_jpeg_bytes'] / 1e6:.1f} MB each"
        return [f"what: {files} ({each}) for each pass, from {pictures}; {environment['workers']} workers"]
    return []


def step_section(measured: Measured) -> str:
    """Training steps: circumstances, rates and ratios."""
    environment = measured["environment"]
    title = f"Training steps in {environment['precision']}" if "precision" in environment else "Training steps"
    found = {name: value for name, value in measured["ratios"].items() if value is not None}
    ratios = table(
        "ratio | >measured | >asked | >aim | ",
        (f"{name} | {value:.4g} | {_asked(name, value)}" for name, value in found.items()),
    )
    parts = [f"## {title}", circumstances(environment), *filter(None, [environment.get("note")])]
    parts += [*_by_output(measured), "### Ratios of steps", ratios, again(environment)]
    return "\n\n".join([*parts, *(_where_time_goes(measured) if measured.get("steps") else [])])


STEP_COLUMNS = {
    "data_ms": ("data, ms", 1.0),
    "forward_backward_ms": ("forward and backward, ms", 1.0),
    "optimizer_ms": ("optimiser, ms", 1.0),
    "step_ms": ("whole step, ms", 1.0),
    "validation_ms": ("validation batch, ms", 1.0),
    "peak_bytes": ("peak memory, GiB", 2.0**-30),
    "matmul_share": ("of products' rate, %", 100.0),
    "memory_share": ("of bandwidth, %", 100.0),
}
"""Titles and factors of the columns of a step's parts."""


def _where_time_goes(measured: Measured) -> list[str]:
    """Milliseconds, peak memory and shares of the device's rates, for each loop of each case."""
    rates = measured["device_rates"]
    said = "Not measured: the device's rates, for want of our own loop."
    if rates:
        said = (
            f"Measured rates of the device: {rates['matmul_per_s'] / 1e12:,.2f} TFLOP/s of matrix products, "
            f"{rates['bytes_per_s'] / 1e9:,.0f} GB/s of its memory."
        )
    rows = []
    for step in measured["steps"]:
        cells = (f"{step[name] * factor:.2f}" if name in step else "" for name, (_, factor) in STEP_COLUMNS.items())
        rows.append(" | ".join([step["case"], step["loop"], *cells]))
    header = " | ".join(["case", "loop", *(f">{title}" for title, _ in STEP_COLUMNS.values())])
    environment = measured["environment"]
    return ["### Where a step's time goes", environment["parts_note"], said, table(header, rows), again(environment)]


def first_batch_section(measured: Measured) -> str:
    """Seconds from the start of a process to its first batch."""
    rows = [
        f"{row['start']} | {row['seconds']:.2f} | {row['spread']:.2f} | {row['rounds']}" for row in measured["rows"]
    ]
    what = "From before the process is started until the first batch is there. Asked of a second start: under 2 s."
    shown = table("start | >seconds, median | >spread (IQR) | >rounds", rows)
    parts = ["## First batch", circumstances(measured["environment"]), what, shown]
    return "\n\n".join([*parts, again({"command": "cxr bench first-batch"})])


def node_section(measured: Measured) -> str:
    """Several runs at once on one GPU or machine."""
    environment = measured["environment"]
    rows = (
        f"{row['runs']} | {'MPS' if row['mps'] else ''} | {row['images_per_s']:,.1f} | {row['spread']:,.1f} | "
        f"{len(row['values'])}"
        for row in measured["rows"]
    )
    shown = table(">runs at once | | >images/s of all, median | >spread (IQR) | >rounds", rows)
    parts = ["## Several runs at once", circumstances(environment), environment["note"], shown, again(environment)]
    return "\n\n".join(parts)


ASKED_S = {"plan": 3, "status": 3, "submit": 5}
"""Seconds that commands over 20,000 runs may take."""


def grid_section(measured: Measured) -> str:
    """Commands over grids of many runs."""
    rows = []
    for row in measured["rows"]:
        calls = ", ".join(f"{count} {name}" for name, count in row.get("calls", {}).items())
        figures = f"{row['seconds']:.2f} | {row['spread']:.2f} | {row['cpu_seconds']:.2f} | {row['rounds']}"
        rows.append(f"{row['command']} | {row['runs']:,} | {figures} | {calls}")
    taken = {row["command"]: row["seconds"] for row in measured["rows"] if row["runs"] == 20_000}
    compared = (f"{name} {taken[name]:.2f} s ({most})" for name, most in ASKED_S.items() if name in taken)
    total = f"Of 20,000 runs, in brackets what was asked: {', '.join(compared)}." if taken else ""
    what = "Whole commands over made-up run folders; submit queues against a recorded sbatch, a fake that says yes."
    shown = table("command | >runs | >seconds, median | >spread (IQR) | >CPU seconds | >rounds | calls", rows)
    environment = measured["environment"]
    parts = ["## Grids of many runs", circumstances(environment), what, shown, again(environment), total]
    return "\n\n".join(parts).strip()


def _by_output(measured: Measured) -> list[str]:
    """A table for each output, and the line that measures it again; of what nobody delivered, a line."""
    parts, absent = [], []
    for output in dict.fromkeys(row["output"] for row in measured["rows"]):
        rows = [row for row in measured["rows"] if row["output"] == output]
        if all(row["images_per_s"] is None for row in rows):
            absent.append(f"Not measured: {output} ({'; '.join(dict.fromkeys(map(_why_absent, rows)))}).")
            continue
        # A contender's name is what --only takes; training steps are chosen by case, the first word.
        only = dict.fromkeys(row["name"].partition(" ")[0] for row in rows)
        parts += [f"### {output[:1].upper()}{output[1:]}", rates(rows), again(measured["environment"], only)]
    return parts + absent


def _why_absent(row: Measured) -> str:
    return (row["absent"] or "").replace("\n", " ").replace("|", "/")[:160]


def rates(rows: Sequence[Measured]) -> str:
    """Images/s of contenders, the fastest first; for loaders also what they read, with what."""
    shown = []
    loaders = any(row.get("reads") for row in rows)
    for row in sorted(rows, key=lambda row: -(row["images_per_s"] or 0.0)):
        title = "; ".join([row["title"], *filter(None, [OTHER_PIXELS.get(row["name"])])])
        cells = [f"**{title}**" if row["ours"] else title]
        if loaders:
            stored = row["bytes_per_image"]
            cells += [row["reads"], row["workers"], "" if stored is None else f"{stored:,.0f}"]
        if row["images_per_s"] is None:
            cells += ["absent: " + _why_absent(row), "", "", "", ""]
        else:
            figures = (row["images_per_s"], row["spread"], min(row["values"]), max(row["values"]))
            cells += [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in figures]
            cells.append(str(row["rounds"]))
        shown.append(" | ".join(cells))
    read = " | reads | workers | >bytes an image" if loaders else ""
    return table(f"contender{read} | >images/s, median | >spread (IQR) | >lowest | >highest | >rounds", shown)


def _mimic_tables(found: Measured) -> str:
    return (
        f"{found['images']:,} images, splits and subsets included: {found['seconds']:.2f} s (median of "
        f"{len(found['rounds'])}, spread {found['spread_s']:.2f} s; imports take {found['import_s']:.2f} s more), "
        f"peak memory of the process {found['peak_bytes'] / 1e6:,.0f} MB. At least: 10 s and 1 GB; aim: 3 s."
    )


def _asked(name: str, value: float) -> str:
    if name in STEP_AIMS:
        least, aim = STEP_AIMS[name]
        return f"at least {least:g} | {aim:g} | {_verdict(value, least, aim)}"
    if name in STEP_BOUNDS:
        most, aim = STEP_BOUNDS[name]
        return f"at most {most:g} | {aim:g} | {_verdict(-value, -most, -aim)}"
    return " | | "


def _verdict(value: float, least: float, aim: float) -> str:
    return "aim reached" if value >= aim else "reached" if value >= least else "missed"
