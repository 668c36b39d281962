"""Data of several datasets: a list of tables is one table with joined names, and wrong ones end with one line."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pages import blocks

from datasets.errors import InputError
from harness.config import DataConfig, RunConfig, from_dict, to_dict

PARTS = [{"dataset": "chexpert", "subset": "1k", "image_size": 64}, {"dataset": "hospital"}]


def parse(data: Any) -> DataConfig:
    return from_dict({"data": data}, where="run.toml").data


def test_a_list_is_one_config_with_its_parts() -> None:
    data = parse(PARTS)
    assert data == DataConfig(dataset="chexpert+hospital", subset="1k+full", image_size=64)
    assert data.parts == (("chexpert", "1k"), ("hospital", "full"))
    config = RunConfig(data=data)
    assert from_dict(to_dict(config), where="config.json").run_id == config.run_id
    assert config.name == "chexpert+hospital_1k+full_imagenet_tl_d121_s0"
    assert RunConfig(data=parse(PARTS[::-1])).hash != config.hash
    assert parse([{"dataset": "chexpert"}, {"dataset": "hospital"}]).subset == "full"


def test_the_documented_file_is_what_the_page_says() -> None:
    (text,) = (block.text for block in blocks("docs/training.md") if block.file == "mixed.toml")
    expected = DataConfig(dataset="chexpert+chestxray14", subset="1k+full", balance="dataset")
    assert parse(tomllib.loads(text)["data"]) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "data: expected a table with dataset, or a list of such tables"),
        (PARTS[:1], "data: a list of one dataset; expected two or more, or a table .data. for one"),
        (["chexpert", "hospital"], "data: expected a table with dataset, or a list"),
        ([*PARTS, {"dataset": "b", "image_size": 32}], "data.image_size: 64 and 32; it holds for all datasets"),
        ([*PARTS, {"dataset": "chexpert"}], "data.dataset = 'chexpert.hospital.chexpert' names chexpert twice"),
        ([*PARTS, {"dataset": "my set"}], "expected up to 64 letters, digits"),
        ([*PARTS, {"dataset": "b", "subst": "1k"}], "data.subst: unknown key; did you mean subset"),
        ({"dataset": "a+b", "subset": "1k"}, "data.subset = '1k': expected full, or a subset of each of the 2 data"),
        ({"dataset": "a+b", "subset": "full.full".replace(".", "+")}, "'full.full': full says the same"),
        ({"dataset": "a+b", "subset": "1k+x"}, "subset = 'x' is unknown; use full or a count"),
        ({"dataset": "a", "subset": "1k+2k"}, "subset = '1k.2k' is unknown; use full or a count"),
    ],
)
def test_wrong_data_are_refused(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^run.toml: .*{message}"):
        parse(data)


@pytest.mark.parametrize("values", [True, 3, "x", None, []])
def test_a_config_that_is_no_table_is_refused(values: Any) -> None:
    with pytest.raises(InputError, match=r"^run\.json: Input should be an object, found "):
        from_dict(values, where="run.json")
