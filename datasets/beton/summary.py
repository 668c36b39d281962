"""Summarise what a beton holds, as one JSON object or as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets.beton.content_hash import count_labels
from datasets.beton.reader import Beton
from datasets.beton.sidecar import Sidecar
from datasets.sources.labels import POSITIVE, SPLITS

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_REJECTS = 10


def label_counts(beton: Beton) -> dict[str, dict[str, int]]:
    """Positives by split and label."""
    splits = beton.samples["split"].to_numpy()
    return {
        name: count_labels(beton.targets[splits == name], beton.labels, POSITIVE) for name in beton.sidecar.splits
    }


def describe(beton: Beton) -> dict[str, Any]:
    """The sidecar's values with ``whole`` and the positives of each split: what ``cxr inspect --json`` prints."""
    return {
        "path": str(beton.path),
        "whole": True,
        **beton.sidecar.to_json(),
        "positives_by_split": label_counts(beton),
    }


def render(beton: Beton) -> RenderableType:
    """Tables for a terminal: where the samples are, what they are labelled, what was left out and why."""
    from rich.console import Group
    from rich.text import Text

    sidecar = beton.sidecar
    facts = (
        str(beton.path),
        f"{sidecar.dataset}, {sidecar.num_samples:,} images of {sidecar.num_patients:,} patients, "
        f"{sidecar.image_size} x {sidecar.image_size} gray, {sidecar.file.bytes / 1e6:,.1f} MB",
        f"content {sidecar.content_hash}",
        "tables " + ", ".join(f"{table['name']} ({table['num_rows']:,} rows)" for table in sidecar.source_tables),
        "settings " + ", ".join(f"{key} {_plain(value)}" for key, value in sidecar.settings.items()),
    )
    parts: list[RenderableType] = [Text(line) for line in facts]
    parts.append(_label_table(beton))
    if sidecar.dropped or sidecar.rejects:
        parts.append(_left_out_table(sidecar))
    return Group(*parts)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {item}" for key, item in value.items()) + ")"
    return str(value)


def _label_table(beton: Beton) -> RenderableType:
    from rich.table import Table

    sidecar, by_split = beton.sidecar, label_counts(beton)
    table = Table("", *SPLITS, "all", "prevalence")
    for column in table.columns[1:]:
        column.justify = "right"
    counts = [f"{sidecar.splits.get(name, 0):,}" for name in SPLITS]
    table.add_row("images", *counts, f"{sidecar.num_samples:,}", "", end_section=True)
    for label in sidecar.labels:
        counts = [f"{by_split.get(name, {}).get(label, 0):,}" for name in SPLITS]
        positives, known = sidecar.positives[label], sidecar.num_samples - sidecar.ignored[label]
        share = f"{positives / known:.1%}" if known else "-"
        table.add_row(label, *counts, f"{positives:,}", share)
    return table


def _left_out_table(sidecar: Sidecar) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("left out", "why")
    for reason, count in sidecar.dropped.items():
        table.add_row(f"{count:,} images", Text(reason))
    for reject in sidecar.rejects[:SHOWN_REJECTS]:
        table.add_row(Text(reject["path"]), Text(reject["reason"]))
    if len(sidecar.rejects) > SHOWN_REJECTS:
        table.add_row(f"{len(sidecar.rejects) - SHOWN_REJECTS:,} more", "see 'cxr inspect --json'")
    return table
