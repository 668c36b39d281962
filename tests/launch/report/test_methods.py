"""The methods that run files tell, exactly; checklists name what fills an item and what is a gap."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from report_fixtures import mimic_teacher, student, write_run

from datasets.beton.sidecar import FileFacts, Sidecar, write_sidecar
from harness.config import LossOptions
from launch.report.build import build_report, read_data
from launch.report.content import ReportData
from launch.report.methods.methods import GAP, checklists, paragraphs
from launch.report.options import Options

NASTY = "<script>alert(1)</script> | *x*"
PROVENANCE = {
    "versions": {"torch": "2.14.0", "ffcv": "1.0.2", "unknown": None},
    "python": "3.12.1",
    "devices": ["NVIDIA H100"],
    "precision": "bf16",
    "preprocessing": {"size": 64, "resize": "shorter"},
}


def sidecar(**values: Any) -> Sidecar:
    plain: dict[str, Any] = {
        "format_version": 1,
        "dataset": "chexpert",
        "image_size": 64,
        "num_samples": 1000,
        "num_patients": 600,
        "labels": ("Edema", "Effusion"),
        "positives": {"Edema": 30, "Effusion": 40},
        "ignored": {"Edema": 5, "Effusion": 0},
        "splits": {"train": 800, "validation": 100, "test": 100},
        "content_hash": "sha256:" + "beef" * 8,
        "request_hash": "",
        "file": FileFacts(bytes=1, page_size=1, head_crc32=0, samples_sha256=""),
        "source_tables": [],
        "settings": {"split": {"kind": "random", "seed": 3}, "uncertain": "zeros", "views": "frontal"},
        "dropped": {"lateral view": 20},
        "rejects": [{"path": "a.png", "reason": "truncated"}],
        "versions": {},
    }
    return Sidecar(**{**plain, **values})


def study(tmp_path: Path, options: Options | None = None, **provenance: Any) -> ReportData:
    runs = tmp_path / "runs"
    for seed in range(2):
        for teacher in (None, "mimic_cxr"):
            write_run(runs, student(seed=seed, teacher=teacher), 0.7, provenance={**PROVENANCE, **provenance})
    write_run(runs, mimic_teacher(), 0.8, provenance=PROVENANCE)
    return read_data(runs, tmp_path / "out", options or Options(resamples=20))


def test_run_files_alone_fill_the_paragraphs(tmp_path: Path) -> None:
    found = paragraphs(study(tmp_path))
    assert found["Data"] == (
        "CheXpert: trained on 200 images, tested on 40 images. Content hash: beefbeefbeefbeef. "
        "MIMIC-CXR: trained on 200 images, tested on 40 images. Content hash: beefbeefbeefbeef."
    )
    assert found["Test patients"].startswith(
        "CheXpert, test split: 40 images of 20 patients; positive images: Edema "
    )
    assert found["Software"] == "Python 3.12.1, torch 2.14.0 and ffcv 1.0.2."
    assert found["Code"] == "Commit 0123456789 (+: with uncommitted changes)."
    assert found["Hardware"] == "Devices: NVIDIA H100; arithmetic: bf16."
    assert "64 px (shorter side resized, middle cut out)" in found["Preprocessing"]
    assert found["Objective"] == (
        "Transfer learning: cross-entropy of each label. Attention transfer: cross-entropy of each label, and the "
        "distance to a teacher (MIMIC-CXR) in form eq2, beta 1."
    )
    assert "(20 resamples of patients, seed 0;" in found["Uncertainty"]
    assert found["Repetitions"].startswith("Seeds 0 and 1 vary")
    assert [title for title, text in found.items() if not text] == [
        *("Left out", "Groups", "Search", "Other datasets", "Operating points", "Explanations")
    ]


def test_a_sidecar_at_hand_gives_the_counts(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "chexpert.beton", sidecar())
    write_sidecar(tmp_path / "mimic_cxr.beton", sidecar(dataset="mimic_cxr", content_hash="sha256:" + "0" * 32))
    found = paragraphs(study(tmp_path, Options(resamples=0, data_dir=tmp_path)))
    assert found["Data"].startswith(
        "CheXpert: 1,000 images of 600 patients (800 train, 100 validation and 100 test). Content hash: beefbeefbeef"
    )
    assert "MIMIC-CXR: trained on 200 images" in found["Data"], "another beton than the runs read tells nothing"
    assert found["Splits"].endswith("CheXpert: kind random, seed 3.")
    assert found["Left out"] == "CheXpert, rows left out: lateral view: 20, images that cannot be used: 1."
    assert found["Missing labels"].endswith("CheXpert, images without a stated label: Edema 5.")
    assert "CheXpert, uncertain labels: zeros; views: frontal." in found["Labels"]


def test_options_of_the_loss_are_told(tmp_path: Path) -> None:
    loss = LossOptions(positive_weights="prevalence", label_smoothing=0.1)
    write_run(tmp_path, dataclasses.replace(student(), loss=loss), 0.7)
    found = paragraphs(read_data(tmp_path, tmp_path / "out"))
    assert found["Class imbalance"] == "Positives were weighted by prevalence."
    assert found["Augmentation"].endswith("with probability 0.5, label smoothing 0.1.")


def test_every_item_of_the_checklists_is_filled_a_gap_or_for_the_authors(tmp_path: Path) -> None:
    tripod, claim = checklists(study(tmp_path))
    numbers = [row[0].text for row in tripod.rows]
    assert sorted({int(number.rstrip("abcdefg")) for number in numbers}) == list(range(1, 28))
    assert len(set(numbers)) == len(numbers) == 52
    assert [row[0].text for row in claim.rows] == [str(number) for number in range(1, 45)]
    for row in (*tripod.rows, *claim.rows):
        assert (row[2].text, row[3].text) != ("-", "-"), row[0].text
    by_number = {row[0].text: row for row in claim.rows}
    assert by_number["23"][2].text == "Methods: Software"
    assert by_number["33"][2].text == f"{GAP}: Other datasets"
    assert by_number["44"][3].text == "whole item"


def test_methods_are_written_with_names_as_text(tmp_path: Path) -> None:
    write_run(tmp_path, student(), {NASTY: 0.7, "Edema": 0.6}, provenance={**PROVENANCE, "devices": [NASTY]})
    build_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "methods.md").read_text(encoding="utf-8")
    assert text.startswith("# Methods\n\n**Data.** CheXpert: trained on 200 images")
    assert "<script>" not in text
    assert "Devices: &lt;script&gt;alert(1)&lt;/script&gt; \\| \\*x\\*; arithmetic: bf16." in text
    assert "| 20a " in text


def test_without_a_finished_run_there_is_nothing_to_tell(tmp_path: Path) -> None:
    write_run(tmp_path, student(), None)
    data = read_data(tmp_path, tmp_path / "out")
    assert paragraphs(data) == {}
    assert checklists(data) == []
