"""Pictures are functions of their description; each finding leaves a trace; labels follow from findings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.phantom import chestxray14, chexpert, mimic_cxr
from datasets.phantom.canvas import Frame
from datasets.phantom.layout import report
from datasets.phantom.patients import FINDINGS, Anatomy, Finding, View, draw_case, draw_patient
from datasets.phantom.render import render
from datasets.sources.labels import CHEXPERT_LABELS

PROFILES = {module.__name__.rpartition(".")[2]: module.PROFILE for module in (chexpert, chestxray14, mimic_cxr)}

SHARED = ("cardiomegaly", "effusion", "edema", "mass", "pneumothorax", "consolidation")


def pixels(*names: str, dataset: str = "chexpert", view: View = "PA", severity: float = 0.6) -> np.ndarray:
    case = tuple(Finding(name, severity, key=11, side=1) for name in names)
    anatomy = Anatomy(np.random.default_rng(2))
    return render(PROFILES[dataset], anatomy, case, view, 64, np.random.default_rng(5)).astype(float)


def trace(name: str, **described: object) -> np.ndarray:
    return pixels(name, **described) - pixels(**described)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    zoom=st.floats(0.5, 2.0),
    angle=st.floats(-3.0, 3.0),
    across=st.floats(-0.5, 0.5),
    mirror=st.sampled_from((-1, 1)),
)
def test_grid_and_pixels_are_inverse(
    height: int, width: int, zoom: float, angle: float, across: float, mirror: int
) -> None:
    frame = Frame(height, width, zoom, angle, (across, -across), mirror)
    u, v = frame.grid()
    places = frame.pixels(np.stack((u, v), axis=-1).astype(float))
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    np.testing.assert_allclose(places, np.stack((columns, rows), axis=-1), atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), view=st.sampled_from(("AP", "PA", "LATERAL")))
def test_pictures_are_gray_levels_with_the_size_on_the_shorter_side(seed: int, view: View) -> None:
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dict.fromkeys(FINDINGS, 0.3))
    gray = render(mimic_cxr.PROFILE, Anatomy(rng), case, view, 48, rng)
    assert gray.dtype == np.uint8
    assert min(gray.shape) == 48
    assert gray.std() > 20
    assert 40 < gray.mean() < 200


def test_same_description_gives_same_pixels() -> None:
    assert np.array_equal(pixels("effusion"), pixels("effusion"))


@pytest.mark.parametrize("view", ["PA", "LATERAL"])
@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_is_seen(name: str, view: View) -> None:
    difference = np.abs(trace(name, view=view))
    assert (difference > 8).mean() > 0.001, "no pixel changes by more than noise"
    if name not in ("cardiomegaly", "wide_mediastinum", "emphysema", "atelectasis", "fibrosis"):
        assert (difference < 3).mean() > 0.4, "a local trace leaves most of the picture alone"


@pytest.mark.parametrize("name", SHARED)
def test_stronger_findings_change_more(name: str) -> None:
    mild, strong = (np.abs(trace(name, severity=severity)).sum() for severity in (0.2, 1.0))
    assert strong > 1.3 * mild


@pytest.mark.parametrize("name", SHARED)
def test_a_trace_is_the_same_in_every_dataset(name: str) -> None:
    """The same patient, frame and finding in two styles: the differences lie in the same places."""
    traces = []
    for dataset in ("chestxray14", "chestxray14", "mimic_cxr"):
        ill, well = pixels(name, dataset=dataset), pixels(dataset=dataset)
        side = min(ill.shape)
        top, left = (ill.shape[0] - side) // 2, (ill.shape[1] - side) // 2
        traces.append((ill - well)[top : top + side, left : left + side].ravel())
    assert np.corrcoef(traces[0], traces[1])[0, 1] == pytest.approx(1.0)
    assert abs(traces[2]).sum() > 0.3 * abs(traces[0]).sum()


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_reports_never_contradict_themselves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = draw_case(rng, chexpert.PROFILE.prevalence)
    row = dict(zip(CHEXPERT_LABELS, report(case, CHEXPERT_LABELS, rng), strict=True))
    named = {label for label, cell in row.items() if cell in ("1.0", "-1.0")}
    if row["No Finding"] == "1.0":
        assert named <= {"No Finding", "Support Devices"}
        assert all(finding.name == "devices" for finding in case)
    else:
        assert row["No Finding"] == ""
        assert any(finding.name != "devices" for finding in case)
    if any(finding.name in ("edema", "mass", "infiltration", "pneumonia") for finding in case):
        assert row["Lung Opacity"] == "1.0"


def test_prevalences_are_as_documented() -> None:
    for dataset, profile in PROFILES.items():
        cases = [draw_patient(1, profile, number).studies[0].case for number in range(1, 2001)]
        for name in FINDINGS:
            share = np.mean([any(finding.name == name for finding in case) for case in cases])
            assert share == pytest.approx(profile.prevalence[name], abs=0.045), (dataset, name)


def test_patients_have_one_and_a_half_to_two_and_a_half_images() -> None:
    for profile in PROFILES.values():
        patients = [draw_patient(4, profile, number) for number in range(1, 1001)]
        images = sum(len(study.views) for patient in patients for study in patient.studies)
        assert 1.5 < images / len(patients) < 2.5
