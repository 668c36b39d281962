"""Paired differences to transfer learning: tables for readers and one CSV for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from launch.report.content import ReportData
from launch.report.read.names import CellLabel, word
from launch.report.statistics.bootstrap import Interval
from launch.report.statistics.cells import POINTS, grouped
from launch.report.statistics.pairs import MEAN, Compared
from launch.report.statistics.sources import LEVEL
from launch.report.tables.table import (
    Column,
    Link,
    Table,
    Value,
    cell_notes,
    head,
    number_columns,
    number_value,
    points_value,
    row,
    signed,
    text_columns,
)

MEANS_NOTE = "Points are 100 x AUROC, the mean of the labels and of the repetitions. * the interval does not hold 0."
SOURCES_NOTE = (
    "SD: standard deviation of the difference, by patients (bootstrap, repetitions averaged) and by seeds (between "
    "repetitions on these patients). The mixed interval is over both, by Student's t with Welch and Satterthwaite's "
    "degrees of freedom: with 2 or 3 repetitions the spread of seeds is itself hardly known, so where seeds dominate "
    "the interval is wide, and a difference that it does not show may still be there."
)
TESTS_NOTE = (
    "p is two-sided, of the same bootstrap, and at least 2 / (resamples + 1); Holm's is corrected for the number of "
    "labels of the comparison, and ** marks 0.05 or less. DeLong's test is a check: it takes images for independent, "
    "so where patients have several images its p is too small."
)
COLUMNS = (
    *CellLabel._fields,
    *("image_size", "differs", "label", "num_images", "num_patients", "num_positive"),
    *("base_auroc", "auroc", "difference", "low", "high", "usable_resamples", "resamples", "seed"),
    *("base_run_ids", "run_ids"),
    *("p", "p_holm", "p_delong", "sd_seeds", "sd_patients", "mixed_low", "mixed_high"),
)
"""Columns of paired.csv; AUROC, differences and their deviations in points. ``base`` is transfer learning."""
MEANS_COLUMNS = (
    *("Transfer learning", "Method's", "Difference [95 % CI]", "p"),
    *("SD by patients", "SD by seeds", "Mixed [95 % CI]"),
)
IN_POINTS = ("base_auroc", "auroc", "difference", "low", "high", "sd_seeds", "sd_patients", "mixed_low", "mixed_high")


def paired_means(data: ReportData) -> list[Table]:
    """The mean over the labels of every pair in one table; none when there is no pair."""
    names = ("Dataset", "Training images", "Initial weights", "Network", "Method")
    rows = []
    for item in data.compared:
        label, mean = item.cell.label, item.intervals[-1]
        words = (*map(word, label.group), word(label.network), item.cell.method_text)
        spread = (points_value(mean.sd_patients), points_value(mean.sd_seeds), _mixed(mean))
        scores = (points_value(mean.base), points_value(mean.other), _value(mean, _links(item)))
        rows.append(row(*words, *scores, _p_value(mean.p), *spread))
    table = Table(
        key="paired-means",
        title="Mean AUROC minus that of transfer learning, paired bootstrap over patients",
        columns=(*text_columns(*names), *number_columns(*MEANS_COLUMNS)),
        rows=tuple(rows),
        notes=(MEANS_NOTE, SOURCES_NOTE, *cell_notes(item.cell for item in data.compared)),
    )
    return [table] if rows else []


def paired(data: ReportData) -> list[Table]:
    """By label: a table for each dataset, size, initial weights and test split, a column for each pair."""

    def place(item: Compared) -> tuple[object, ...]:
        split = item.first
        test_split = (split.labels, tuple(split.positives), split.num_images, split.num_patients)
        return (*item.cell.label.group, item.cell.config.data.image_size, *test_split)

    groups = grouped(data.compared, place).values()
    return [_table(members, number) for number, members in enumerate(groups, start=1)]


def _table(members: Sequence[Compared], number: int) -> Table:
    first = members[0]
    positives = [number_value(int(count), ",d") for count in first.first.positives]
    heads = [(word(item.cell.label.network), item.cell.method_text, "minus TL") for item in members]
    rows = [
        row(head(name), positives[i], *(_tested(item.intervals[i]) for item in members))
        for i, name in enumerate(first.first.labels)
    ]
    means = (_value(item.intervals[-1], _links(item)) for item in members)
    return Table(
        key=f"paired-{number}",
        title=f"Difference to transfer learning by label: {first.cell.label.group_text}",
        columns=(*text_columns("Label"), *number_columns("Positive images"), *map(Column, heads)),
        rows=(*rows, row(head(MEAN, sort="~"), Value(("",)), *means)),
        notes=(_note(first, members), TESTS_NOTE, *cell_notes(item.cell for item in members)),
    )


def _note(first: Compared, members: Sequence[Compared]) -> str:
    counts = sorted({len(runs) for item in members for runs in (item.base_runs, item.other_runs)})
    n = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    split, bootstrap = first.first, first.bootstrap
    return (
        f"AUROC of the method minus that of transfer learning with the same config, in points, each the mean of its "
        f"repetitions (n = {n}). In brackets the 95 % percentile interval of a paired bootstrap: {bootstrap.count:,} "
        f"resamples (seed {bootstrap.seed}) of the {split.num_patients:,} test patients, each with all of its images "
        f"({split.num_images:,} in all), the same for both. * the interval does not hold 0. The interval tells what "
        "other patients would change, not what other seeds would: paired.csv has the mixed one over both by label."
    )


def _value(interval: Interval, links: tuple[Link, ...] = ()) -> Value:
    if math.isnan(interval.difference):
        return Value(("one class",), links=links, mark="missing")
    difference, low, high = (POINTS * value for value in (interval.difference, interval.low, interval.high))
    if math.isnan(low):
        return Value((signed(difference),), sort=difference, links=links)
    clear = " *" if low > 0 or high < 0 else ""
    return Value((signed(difference) + clear, f"[{signed(low)}, {signed(high)}]"), sort=difference, links=links)


def _tested(interval: Interval) -> Value:
    """The difference of one label with its tests below."""
    value = _value(interval)
    if math.isnan(interval.p):
        return value
    corrected = "*" if interval.p_holm <= LEVEL and value.lines[0].endswith("*") else ""
    tests = (f"p {_p_text(interval.p)}, Holm {_p_text(interval.p_holm)}", f"DeLong {_p_text(interval.p_delong)}")
    return replace(value, lines=(value.lines[0] + corrected, *value.lines[1:], *tests))


def _p_text(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _p_value(p: float) -> Value:
    return Value((_p_text(p),), sort=None if math.isnan(p) else p)


def _mixed(interval: Interval) -> Value:
    low, high = POINTS * interval.mixed_low, POINTS * interval.mixed_high
    return Value(("-",) if math.isnan(low) else (f"[{signed(low)}, {signed(high)}]",))


def _links(item: Compared) -> tuple[Link, ...]:
    runs = [("TL ", run) for run in item.base_runs] + [("", run) for run in item.other_runs]
    return tuple(Link(f"{before}s{run.config.seed}", f"#run-{run.run_id}") for before, run in runs)


def paired_csv(compared: Sequence[Compared]) -> str:
    """One row for each pair and label, and one for the mean of the labels."""
    return pd.concat(map(_frame, compared))[list(COLUMNS)].to_csv(index=False, float_format="%.4f")


def _frame(item: Compared) -> pd.DataFrame:
    frame = pd.DataFrame(item.intervals).rename(columns={"base": "base_auroc", "other": "auroc"})
    frame[list(IN_POINTS)] *= POINTS
    return frame.rename(columns={"usable": "usable_resamples"}).assign(
        **item.cell.label._asdict(),
        image_size=item.cell.config.data.image_size,
        differs=item.cell.differs,
        label=item.names,
        num_images=item.first.num_images,
        num_patients=item.first.num_patients,
        num_positive=[*map(str, item.first.positives), ""],
        resamples=item.bootstrap.count,
        seed=item.bootstrap.seed,
        base_run_ids=" ".join(run.run_id for run in item.base_runs),
        run_ids=" ".join(run.run_id for run in item.other_runs),
    )
