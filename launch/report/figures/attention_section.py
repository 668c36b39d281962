"""Attention maps of pairs of cells on test radiographs."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import InputError
from launch.report.content import Note, Picture, ReportData
from launch.report.figures.attention_panel import Seen, draw_overlays, draw_planes
from launch.report.figures.drawing import remove
from launch.report.read.collect import Run
from launch.report.statistics.pairs import Pair

if TYPE_CHECKING:
    from datasets.beton.reader import Beton

MOST_PAIRS = 4
HOW = "give --data-dir, the folder of the betons: cxr report DIR --data-dir DATA"
_CAPTION = (
    "Test radiographs under the mean square of each network's 32 unit planes at the attention layer, all on one "
    "scale (1 is even attention); the squares are the positions of the planes. Distance is equation (2) of the paper."
)
_PLANES = "Every unit plane of the first radiograph, paired by its place, on one scale; white is zero."


def attention_maps(data: ReportData) -> list[Picture | Note]:
    """Figures of the first repetition of each of the first pairs, or why there are none."""
    names = [
        (data.out / f"attention_{i + 1}.png", data.out / f"attention_planes_{i + 1}.png") for i in range(MOST_PAIRS)
    ]
    pictures: list[Picture] = []
    notes = []
    with_planes = [pair for pair in data.pairs if pair.other.config.objective.teacher is not None]
    if not with_planes:
        notes.append("Not drawn: no finished student with a teacher and its transfer-learning counterpart.")
    elif not data.options.attention_maps:
        notes.append(f"Not drawn: {HOW}.")
    else:
        if len(with_planes) > MOST_PAIRS:
            notes.append(f"The first {MOST_PAIRS} of {len(with_planes)} pairs are drawn.")
        for pair, (overlays, planes) in zip(with_planes, names, strict=False):
            try:
                pictures += _draw(pair, data, overlays, planes)
            except InputError as error:
                notes.append(f"{pair.text}: not drawn: {error}")
    kept = {picture.path for picture in pictures}
    for path in (path for both in names for path in both if path not in kept):
        remove(path)
    return [*(Note(text, terminal=data.options.attention_maps > 0) for text in notes), *pictures]


def _draw(pair: Pair, data: ReportData, overlays: Path, planes: Path) -> list[Picture]:
    from harness.evaluation.attention_maps import choose_radiographs, plane_distance, student_planes, teacher_planes
    from harness.runs.runtime import RuntimeConfig

    options = data.options
    runtime = RuntimeConfig(
        runs_dir=data.collection.directory,
        run_folders={run.run_id: run.folder.path for run in data.collection.runs},
        imagenet_weights=options.imagenet_weights,
        xrv_weights=options.xrv_weights,
    )
    other, base = pair.other.finished[0], pair.base.finished[0]
    beton = _open_beton(other, options.data_dir)
    chosen = choose_radiographs(beton, options.attention_maps)
    images = beton.gather(chosen)
    weights = other.config.objective.teacher
    assert weights is not None, "pairs without a teacher were left out"
    teacher = teacher_planes(weights, runtime, images)
    seen = [Seen(f"Teacher: {pair.other.label.teacher_text}", teacher)]
    for name, run in (("Student with teacher", other), ("Transfer learning alone", base)):
        own = student_planes(run.config, run.folder, images)
        seen.append(Seen(name, own, plane_distance(own, teacher)))
    draw_overlays(images, [_findings(beton, int(index)) for index in chosen], seen, overlays)
    draw_planes(seen, 0, planes)
    what = f"{pair.text}, {pair.other.label.group_text}, seeds {other.config.seed} and {base.config.seed}"
    return [
        Picture(overlays, f"Attention maps: {what}", _CAPTION),
        Picture(planes, f"Attention planes: {what}", _PLANES),
    ]


def _open_beton(run: Run, data_dir: Path | None) -> Beton:
    from datasets.beton.reader import Beton

    path = run.beton if data_dir is None else data_dir / f"{run.config.data.dataset}.beton"
    if path is None:
        raise InputError(f"the run does not say which beton it read; {HOW}")
    beton = Beton.open(path)
    if run.content_hash and beton.sidecar.content_hash.rpartition(":")[2] != run.content_hash:
        raise InputError(
            f"{path}: not the beton that the runs read, whose content hash is {run.content_hash[:10]}..."
        )
    return beton


def _findings(beton: Beton, index: int) -> str:
    """Title of a radiograph: its sample index and what it is labelled with; no path, which may name a patient."""
    row = beton.targets[index]
    found = ", ".join(label for label, value in zip(beton.labels, row, strict=True) if value == 1) or "no finding"
    return f"Test image {index}\n" + textwrap.shorten(found, 34, placeholder=" ...")
