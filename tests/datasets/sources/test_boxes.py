"""Tables of boxes, the published one too, and where a box lies on a page."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.images.resize import Resize, fit, fit_box
from datasets.sources.boxes import read_boxes

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def test_the_published_table() -> None:
    """984 boxes of 880 images and eight findings, as its authors count them (Wang et al., 2017)."""
    spec = importlib.util.find_spec("torchxrayvision")
    assert spec is not None and spec.origin is not None, "torchxrayvision holds the table"
    boxes = read_boxes(Path(spec.origin).parent / "data" / "BBox_List_2017.csv.gz")
    assert (len(boxes), len({item.name for item in boxes})) == (984, 880)
    counts = Counter(item.label for item in boxes)
    assert counts == {
        "Atelectasis": 180,
        "Cardiomegaly": 146,
        "Effusion": 153,
        "Infiltration": 123,
        "Mass": 85,
        "Nodule": 79,
        "Pneumonia": 120,
        "Pneumothorax": 98,
    }
    assert boxes[0].name == "00013118_008.png"
    assert boxes[0].box == pytest.approx((225.0847, 547.0192, 311.8644, 626.2057), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "expected the columns Image Index, Finding Label"),
        (HEADER + "a.png,Mass,1,2,3\n", r"row 2: a\.png,Mass,1,2,3: expected name, label and x, y, width, height"),
        (HEADER + "a.png,Mass,1,2,3,4\nb.png,Mass,1,2,x,4\n", "row 3: "),
        (HEADER + "a.png,Mass,1,2,0,4\n", "row 2: "),
        (HEADER + "a.png,Mass,1,nan,3,4\n", "row 2: "),
    ],
)
def test_a_row_without_a_box_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(path)


@given(
    shape=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    resize=st.sampled_from(["shorter", "squash"]),
)
def test_a_box_lies_where_the_page_shows_it(
    shape: tuple[int, int], corner: tuple[float, float], resize: Resize
) -> None:
    """What is white in the image is bright on the page within the box, and dark more than a pixel outside of it."""
    height, width = shape
    top, left = int(corner[0] * height), int(corner[1] * width)
    image = np.zeros(shape, np.uint8)
    image[top : top + height // 3, left : left + width // 3] = 255
    page = fit(image, 32, resize)
    x0, y0, x1, y1 = fit_box((left, top, left + width // 3, top + height // 3), height, width, 32, resize)
    rows, columns = np.nonzero(page > 127)
    if len(rows):
        assert abs(columns.min() - x0) <= 1 and abs(columns.max() + 1 - x1) <= 1
        assert abs(rows.min() - y0) <= 1 and abs(rows.max() + 1 - y1) <= 1
    else:
        assert min(x1 - x0, y1 - y0) <= 1


def test_a_box_beside_the_page_is_empty() -> None:
    x0, _, x1, _ = fit_box((0, 10, 20, 30), 100, 200, 32)
    assert x1 <= x0
