"""Attention maps as pictures, and what the report says where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_fixtures import student, write_run

from launch.cli import main
from launch.report.figures.attention import (
    HOW,
    Seen,
    attention_map,
    draw_overlays,
    draw_planes,
    mosaic,
    unit_planes,
)


def test_unit_planes_have_length_one_and_empty_ones_stay_empty() -> None:
    planes = np.zeros((1, 2, 2, 2))
    planes[0, 0] = [[3.0, 0.0], [0.0, -4.0]]
    np.testing.assert_allclose(unit_planes(planes)[0, 0], [[0.6, 0.0], [0.0, -0.8]])
    assert not unit_planes(planes)[0, 1].any()


def test_a_map_is_one_on_average_and_one_everywhere_where_attention_is_even() -> None:
    np.testing.assert_allclose(attention_map(np.full((1, 4, 8, 8), -2.5)), np.ones((1, 8, 8)))
    planes = np.zeros((1, 1, 2, 2))
    planes[0, 0, 1, 0] = 7.0
    np.testing.assert_allclose(attention_map(planes)[0], [[0.0, 0.0], [4.0, 0.0]])


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100.0))
@settings(deadline=None, max_examples=30)
def test_a_map_does_not_change_with_the_scale_of_the_planes(seed: int, scale: float) -> None:
    planes = np.random.default_rng(seed).normal(size=(2, 32, 8, 8)).astype(np.float32)
    found = attention_map(planes)
    np.testing.assert_allclose(found, attention_map(-scale * planes), rtol=1e-5)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 1.0, rtol=1e-6)


def test_the_mosaic_keeps_every_plane_in_its_place() -> None:
    planes = np.arange(10 * 4, dtype=float).reshape(10, 2, 2)
    found = mosaic(planes)
    assert found.shape == (5, 23)
    np.testing.assert_array_equal(found[:2, :2], planes[0])
    np.testing.assert_array_equal(found[3:, 3:5], planes[9])
    assert np.isnan(found[2]).all()
    assert np.isfinite(found).sum() == 40


def test_figures_are_written_as_png_and_pdf(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (2, 64, 64), dtype=np.uint8)
    seen = [Seen(f"N{i} $x_", generator.normal(size=(2, 32, 8, 8)), np.array([0.5, 1.0])) for i in range(3)]
    draw_overlays(images, ["a $ b", "c"], seen, tmp_path / "overlays.png")
    draw_planes(seen, 1, tmp_path / "planes.png")
    for name in ("overlays", "planes"):
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 150
            assert len(set(image.convert("RGB").resize((99, 99)).get_flattened_data())) > 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], HOW),
        (["--attention-maps", "2"], "does not say which beton"),
        (["--data-dir", "absent"], "absent/chexpert.beton: no such file"),
    ],
)
def test_where_there_are_none_the_page_says_why(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for teacher in (None, "mimic_cxr"):
        write_run(tmp_path, student(teacher=teacher), 0.7)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "attention_1.png").write_bytes(b"old")
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path), *arguments])
    assert caught.value.code == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    section = page.partition("<h2>Attention maps</h2>")[2].partition("</section>")[0]
    assert said.split(":")[0] in section
    assert not (tmp_path / "report" / "attention_1.png").exists()
    assert ("attention maps: " in capsys.readouterr().err) == bool(arguments)


@pytest.mark.parametrize(
    "arguments", [["--attention-maps", "21"], ["--resamples", "-1"], ["--every", "0"], ["--bootstrap-seed", "-1"]]
)
def test_values_out_of_range_are_one_line(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path), *arguments])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {arguments[0]} ")
    assert captured.out == ""
