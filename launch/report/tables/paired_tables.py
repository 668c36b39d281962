"""Paired differences to transfer learning: tables for readers and one CSV for programs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pandas as pd

from launch.report.content import ReportData
from launch.report.read.comparable import POINTS
from launch.report.read.names import CellLabel, word
from launch.report.statistics.bootstrap import Interval
from launch.report.statistics.pairs import Compared
from launch.report.tables.table import (
    Column,
    Link,
    Table,
    Value,
    number_columns,
    phantom_notes,
    signed,
    text_columns,
    text_value,
)

MEAN = "Mean of the labels"
COLUMNS = (
    *CellLabel._fields,
    *("image_size", "differs", "label", "num_images", "num_patients", "num_positive"),
    *("base_auroc", "auroc", "difference", "low", "high", "usable_resamples", "resamples", "seed"),
    *("base_run_ids", "run_ids"),
)
"""Columns of paired.csv; AUROC and differences in points. ``base`` is transfer learning."""


def paired(data: ReportData) -> list[Table]:
    """The differences by label."""
    return paired_tables(data.compared)


def paired_tables(compared: Sequence[Compared]) -> list[Table]:
    """One table for each dataset, size, initial weights and test split; a column for each pair."""
    groups: dict[tuple[object, ...], list[Compared]] = defaultdict(list)
    for item in compared:
        cell = item.pair.other
        test_split = (item.labels, item.positives, item.num_images, item.num_patients)
        groups[(*cell.label.group, cell.config.data.image_size, *test_split)].append(item)
    return [_table(members, number) for number, members in enumerate(groups.values(), start=1)]


def _table(members: list[Compared], number: int) -> Table:
    first = members[0]
    label = first.pair.other.label
    heads = [(word(item.pair.other.label.network), item.pair.other.method_text, "minus TL") for item in members]
    columns = (*text_columns("Label"), *number_columns("Positive images"), *(Column(head) for head in heads))
    names = (*first.labels, MEAN)
    rows = []
    for i, name in enumerate(names):
        count = first.positives[i] if i < len(first.positives) else None
        positive = Value(("",)) if count is None else Value((f"{count:,}",), sort=count)
        links = [_links(item) if name == MEAN else () for item in members]
        values = [_value(item.intervals[i], link) for item, link in zip(members, links, strict=True)]
        rows.append((Value((name,), sort="~" if name == MEAN else name, mark="head"), positive, *values))
    return Table(
        key=f"paired-{number}",
        title=f"Difference to transfer learning by label: {label.group_text}",
        columns=columns,
        rows=tuple(rows),
        notes=(_note(first, members), *phantom_notes([item.pair.other for item in members])),
    )


def _note(first: Compared, members: list[Compared]) -> str:
    counts = sorted({len(runs) for item in members for runs in (item.base_runs, item.other_runs)})
    n = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"AUROC of the method minus that of transfer learning with the same config, in points, each the mean of its "
        f"repetitions (n = {n}). In brackets the 95 % percentile interval of a paired bootstrap: {first.count:,} "
        f"resamples (seed {first.seed}) of the {first.num_patients:,} test patients, each with all of its images "
        f"({first.num_images:,} in all), the same for both. * the interval does not hold 0; none is corrected for "
        "the number of labels. The interval tells what other patients would change, not what other seeds would."
    )


def _value(interval: Interval, links: tuple[Link, ...]) -> Value:
    if math.isnan(interval.difference):
        return Value(("one class",), links=links, mark="missing")
    text = signed(POINTS * interval.difference)
    if math.isnan(interval.low):
        return Value((text,), sort=POINTS * interval.difference, links=links)
    clear = " *" if interval.low > 0 or interval.high < 0 else ""
    ends = f"[{signed(POINTS * interval.low)}, {signed(POINTS * interval.high)}]"
    return Value((text + clear, ends), sort=POINTS * interval.difference, links=links)


def _links(item: Compared) -> tuple[Link, ...]:
    runs = [("TL ", run) for run in item.base_runs] + [("", run) for run in item.other_runs]
    return tuple(Link(f"{before}s{run.config.seed}", f"#run-{run.run_id}") for before, run in runs)


def paired_csv(compared: Sequence[Compared]) -> str:
    """One row for each pair and label, and one for the mean of the labels."""
    rows = [row for item in compared for row in _rows(item)]
    return pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False)


def paired_means(data: ReportData) -> list[Table]:
    """The mean over the labels of every pair in one table; none when there is no pair."""
    return [means_table(data.compared)] if data.compared else []


def means_table(compared: Sequence[Compared]) -> Table:
    """The mean over the labels of every pair."""
    names = ("Dataset", "Training images", "Initial weights", "Network", "Method")
    rows = []
    for item in compared:
        label = item.pair.other.label
        words = (
            word(label.dataset),
            label.subset,
            word(label.init),
            word(label.network),
            item.pair.other.method_text,
        )
        interval = item.intervals[-1]
        rows.append((*map(text_value, words), *_mean_values(interval), _value(interval, _links(item))))
    numbers = number_columns("Transfer learning", "Method's", "Difference [95 % CI]")
    return Table(
        key="paired-means",
        title="Mean AUROC minus that of transfer learning, paired bootstrap over patients",
        columns=(*text_columns(*names), *numbers),
        rows=tuple(rows),
        notes=(
            "Points are 100 x AUROC, the mean of the labels and of the repetitions. * the interval does not hold 0.",
            *phantom_notes([item.pair.other for item in compared]),
        ),
    )


def _mean_values(interval: Interval) -> list[Value]:
    found = [POINTS * value for value in (interval.base, interval.other)]
    return [Value(("-",)) if math.isnan(value) else Value((f"{value:.2f}",), sort=value) for value in found]


def _rows(item: Compared) -> Iterator[dict[str, str]]:
    cell = item.pair.other
    for i, interval in enumerate(item.intervals):
        is_mean = i == len(item.labels)
        numbers = {
            "base_auroc": interval.base,
            "auroc": interval.other,
            "difference": interval.difference,
            "low": interval.low,
            "high": interval.high,
        }
        yield {
            **cell.label._asdict(),
            "image_size": str(cell.config.data.image_size),
            "differs": cell.differs,
            "label": MEAN if is_mean else item.labels[i],
            "num_images": str(item.num_images),
            "num_patients": str(item.num_patients),
            "num_positive": "" if is_mean else str(item.positives[i]),
            **{key: "" if math.isnan(value) else f"{POINTS * value:.4f}" for key, value in numbers.items()},
            "usable_resamples": str(interval.usable),
            "resamples": str(item.count),
            "seed": str(item.seed),
            "base_run_ids": " ".join(run.run_id for run in item.base_runs),
            "run_ids": " ".join(run.run_id for run in item.other_runs),
        }
