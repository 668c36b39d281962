"""Paragraphs of the data: counts, splits, labels and preprocessing, from sidecars, provenance and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets.beton.mixed import open_beton
from datasets.beton.sidecar import Sidecar, read_sidecar
from datasets.errors import InputError
from datasets.sources.registry import beton_files
from launch.report.content import ReportData
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import grouped

ATTRIBUTES = ("sex", "age", "view", "site", "race")


def listed(values: Iterable[object], last: str = "and") -> str:
    """Distinct values in order of appearance, as ``a, b and c``."""
    found = list(dict.fromkeys(str(value) for value in values if value not in (None, "")))
    return f" {last} ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def data_facts(data: ReportData, runs: Sequence[Run]) -> dict[str, str]:
    """What is known of the images; a paragraph that no file fills is empty."""
    datasets = grouped(runs, lambda run: run.config.data.dataset)
    sidecars = {name: _sidecar(members, data.options.data_dir) for name, members in datasets.items()}
    named = [(word(name), sidecar) for name, sidecar in sidecars.items() if sidecar is not None]
    splits = [_split(title, sidecar.settings) for title, sidecar in named]
    return {
        "Data": " ".join(_counts(members, sidecars[name]) for name, members in datasets.items()),
        "Test patients": " ".join(_tested(data)),
        "Splits": " ".join(filter(None, (_BY_PATIENT, _subsets(runs), *splits))),
        "Preprocessing": " ".join(dict.fromkeys(map(_preprocessing, runs))),
        "Labels": " ".join([*_labels(datasets), *(_policy(title, sidecar) for title, sidecar in named)]),
        "Missing labels": _MISSING + "".join(_ignored(title, sidecar) for title, sidecar in named),
        "Left out": " ".join(text for title, sidecar in named if (text := _left_out(title, sidecar))),
        "Groups": _groups(runs),
    }


_BY_PATIENT = "Images were split by patient: no patient is in two of the training, validation and test splits."
_MISSING = "A label that the tables do not state for an image is left out of loss and scores; no value is imputed."


def _sidecar(runs: Sequence[Run], data_dir: Path | None) -> Sidecar | None:
    """What the beton of these runs says of itself, where it is at hand and is the one they read."""
    name = f"{runs[0].config.data.dataset}.beton"
    for path in ([data_dir / name] if data_dir else []) + [run.beton for run in runs[:1] if run.beton]:
        try:
            found = read_sidecar(path) if beton_files(path) == (path,) else open_beton(path).sidecar
        except (InputError, OSError):
            continue
        if found.content_hash.rpartition(":")[2] in {run.content_hash for run in runs}:
            return found
    return None


def _counts(runs: Sequence[Run], sidecar: Sidecar | None) -> str:
    title = word(runs[0].config.data.dataset)
    made_up = " The images are made up." if any(run.phantom for run in runs) else ""
    hashes = listed(run.content_hash[:16] for run in runs)
    content = f" Content hash: {hashes}." if hashes else ""
    if sidecar is not None:
        splits = listed(f"{sidecar.splits.get(name, 0):,} {name}" for name in ("train", "validation", "test"))
        images = f"{sidecar.num_samples:,} images of {sidecar.num_patients:,} patients ({splits})"
        return f"{title}: {images}.{content}{made_up}"
    used = sorted({run.result.train_images for run in runs if run.result and run.result.train_images})
    trained = f"trained on {listed((f'{count:,}' for count in used), 'or')} images" if used else "counts unknown"
    tested = sorted({run.result.test.num_samples for run in runs if run.result and run.result.test.num_samples})
    scored = f", tested on {listed((f'{count:,}' for count in tested), 'or')} images" if tested else ""
    return f"{title}: {trained}{scored}.{content}{made_up}"


def _tested(data: ReportData) -> list[str]:
    found = []
    for item in data.compared:
        split = item.first
        labels = zip(split.labels, split.positives.tolist(), strict=True)
        positives = "; ".join(f"{label} {count:,}" for label, count in labels)
        counts = f"{split.num_images:,} images of {split.num_patients:,} patients"
        found.append(f"{word(item.cell.label.dataset)}, test split: {counts}; positive images: {positives}.")
    return list(dict.fromkeys(found))


def _split(title: str, settings: dict[str, Any]) -> str:
    if "manifest" in settings:
        return f"{title}: as a manifest says (SHA-256 {str(settings['manifest'])[:16]})."
    split = settings.get("split")
    words = ", ".join(f"{key} {value}" for key, value in split.items()) if isinstance(split, dict) else split
    return f"{title}: {words}." if words else ""


def _subsets(runs: Sequence[Run]) -> str:
    subsets = {run.config.data.subset for run in runs} - {"full"}
    return "Subsets of the training images are nested: a larger one holds the smaller ones." if subsets else ""


def _preprocessing(run: Run) -> str:
    size, found = run.config.data.image_size, run.provenance.get("preprocessing")
    resize = {"shorter": "shorter side resized, middle cut out", "squash": "both sides resized"}
    how = resize.get(str(found.get("resize")), "") if isinstance(found, dict) else ""
    text = f"Images became 8-bit gray squares of {size} px{f' ({how})' if how else ''}, given to the network in three"
    return f"{text} equal channels, normalised by ImageNet's mean and standard deviation."


def _labels(datasets: dict[str, list[Run]]) -> list[str]:
    found = []
    for name, runs in datasets.items():
        labels = listed(label for run in runs if run.result for label in run.result.test.auroc)
        policies = listed(run.config.loss.uncertain for run in runs)
        found.append(f"{word(name)}: {labels}{f'; uncertain labels in training: {policies}' if policies else ''}.")
    return found


def _policy(title: str, sidecar: Sidecar) -> str:
    words = f"uncertain labels: {sidecar.settings.get('uncertain')}; views: {sidecar.settings.get('views')}"
    return f"{title}, {words}."


def _ignored(title: str, sidecar: Sidecar) -> str:
    counts = ", ".join(f"{label} {count:,}" for label, count in sidecar.ignored.items() if count)
    return f" {title}, images without a stated label: {counts}." if counts else ""


def _left_out(title: str, sidecar: Sidecar) -> str:
    reasons = {**sidecar.dropped, **({"images that cannot be used": len(sidecar.rejects)} if sidecar.rejects else {})}
    words = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items() if count)
    return f"{title}, rows left out: {words}." if words else ""


def _groups(runs: Sequence[Run]) -> str:
    """The attributes that the test predictions carry."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    for name, members in grouped(runs, lambda run: run.config.data.dataset).items():
        try:
            columns = pq.read_schema(members[0].folder.predictions_file).names
        except (OSError, pa.ArrowException):
            continue
        found[word(name)] = listed(attribute for attribute in ATTRIBUTES if attribute in columns)
    texts = [f"{title}: {names} of each test image." for title, names in found.items() if names]
    return " ".join(["Recorded of patients and images.", *texts]) if texts else ""
