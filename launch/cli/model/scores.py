"""``cxr scores``: scores of a run by label and by group, with intervals over patients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from launch.ranges import Count, NotNegative

if TYPE_CHECKING:
    from rich.table import Table

HEADS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "f1": "F1",
    "brier": "Brier",
    "ece": "ECE",
    "brier_calibrated": "Brier cal.",
    "ece_calibrated": "ECE cal.",
    "prevalence": "prev.",
}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Score a finished run's predictions by label and in the mean, and by groups of patients.

    Each score has its 95 % interval by a bootstrap over patients. Decisions are made at the thresholds, and
    probabilities judged with the temperatures, that were fitted on validation. Groups are those of all attributes
    that the predictions have (sex, age band, view, site), and of their pairs. The scores are kept in the run's folder
    as scores.json, and computed anew when one of the files that they rest on changes.

    For example:
        cxr scores runs/chexpert_1k_imagenet_tl_d121_s0-0123456789
        cxr scores chexpert_1k --runs-dir runs --rule sensitivity --by sex age
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder, or its id (or a part that no other has) below RUNS_DIR."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    split: Literal["validation", "test"] = "test"
    """Images to score."""
    rule: Literal["youden", "sensitivity", "specificity", "f1"] = "youden"
    """How the threshold was chosen on validation: largest sum of sensitivity and specificity, fixed sensitivity,
    fixed specificity, or largest F1."""
    by: tuple[str, ...] = ()
    """Attributes whose groups are scored; default: all that have 2 to 20 values."""
    min_count: Count = 20
    """Positive, and negative, images that a group must have of a label to be scored on it."""
    resamples: Count = 2000
    """Resamples of the patients."""
    seed: NotNegative = 0
    """Seed of the resamples."""
    json: bool = False
    """Print the content of scores.json alone."""

    def run(self) -> None:
        from harness.runs.folder import RunFolder
        from harness.scoring.clinical import ScoreOptions
        from harness.scoring.run_scores import run_scores
        from launch.plan.run_argument import find_run_folder
        from launch.terminal import print_whole

        options = ScoreOptions(
            rule=self.rule,
            by=self.by or None,
            min_count=self.min_count,
            resamples=self.resamples,
            seed=self.seed,
        )
        found = run_scores(RunFolder(find_run_folder(self.run_folder, self.runs_dir)), self.split, options)
        if self.json:
            print(json.dumps(found, indent=2))
            return
        counts = f"{found['num_images']:,} images of {found['num_patients']:,} patients"
        print(f"{found['run_id']}: {found['split']}, {counts}")
        print_whole(_by_label(found), *_by_group(found))
        unscored = [by for by in _attributes(found) if not _is_scored(found, by)]
        if unscored:
            least = f"{self.min_count} positive and {self.min_count} negative images of a label (--min-count)"
            print(f"no group has {least}, by {', '.join(map(' and '.join, unscored))}")
        for text in found["lacking"]:
            print(f"no {text}")


def _text(score: Mapping[str, Any] | None) -> str:
    """``0.812 [0.801, 0.823]``, a dash for none."""
    if score is None:
        return "-"
    ends = "" if score["interval"] is None else " [{:.3f}, {:.3f}]".format(*score["interval"])
    return f"{score['value']:.3f}{ends}"


def _by_label(found: Mapping[str, Any]) -> Table:
    from rich.table import Table

    shown = [name for name in HEADS if any(name in values for values in found["scores"].values())]
    title = f"Scores with 95 % intervals over patients; decisions by the rule {found['options']['rule']!r}"
    table = Table(title=title, title_justify="left")
    table.add_column("label", no_wrap=True)
    table.add_column("positive", justify="right")
    for name in shown:
        table.add_column(HEADS[name], justify="right")
    for label, values in found["scores"].items():
        count = f"{values['positives']:,}" if "positives" in values else ""
        table.add_row(label, count, *(_text(values.get(name)) for name in shown))
    return table


def _attributes(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The attributes, and pairs of them, by which there are groups."""
    return list(dict.fromkeys(tuple(group["by"]) for group in found["groups"]))


def _is_scored(found: Mapping[str, Any], by: tuple[str, ...]) -> bool:
    """Whether one of these groups has images enough of a label."""
    return any(len(one["too_small"]) < len(found["labels"]) for one in found["groups"] if tuple(one["by"]) == by)


def _by_group(found: Mapping[str, Any]) -> Iterator[Table]:
    """A table of each attribute: its groups on the mean of the labels, and the largest gap."""
    from rich.table import Table

    for by in _attributes(found):
        if not _is_scored(found, by):
            continue
        groups = [group for group in found["groups"] if tuple(group["by"]) == by]
        title = f"By {' and '.join(by)}: means of the labels that a group can be scored on"
        table = Table(title=title, title_justify="left")
        table.add_column("group", no_wrap=True)
        for head in ("images", "labels", "AUROC", "sensitivity", "specificity"):
            table.add_column(head, justify="right")
        for group in groups:
            mean = group["scores"]["mean"]
            labels = f"{len(found['labels']) - len(group['too_small'])} of {len(found['labels'])}"
            scores = (_text(mean.get(name)) for name in ("auroc", "sensitivity", "specificity"))
            table.add_row(group["group"], f"{group['num_images']:,}", labels, *scores)
        gaps = {gap["score"]: gap for gap in found["gaps"] if tuple(gap["by"]) == by and gap["label"] == "mean"}
        if gaps:
            shown = (_gap_text(gaps.get(name)) for name in ("auroc", "sensitivity", "specificity"))
            table.add_row("largest gap", "", "", *shown, end_section=True)
        yield table


def _gap_text(gap: Mapping[str, Any] | None) -> str:
    if gap is None:
        return "-"
    return f"{gap['gap']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}] {gap['highest']} over {gap['lowest']}"
