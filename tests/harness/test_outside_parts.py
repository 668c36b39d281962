"""A network and an objective of another package, as docs/extending.md writes them, train through the public API."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_runs import tiny_config, tiny_runtime

from harness.config import NETWORKS, OBJECTIVES, RunConfig, from_dict, to_dict
from harness.networks import summaries
from harness.training.run import train_run
from launch.plan.cost import run_work
from launch.report.read.names import cell_label, word

EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"```python\n# (tinyparts/\w+\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture
def tinyparts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the document, written to a folder, imported and taken out again."""
    (tmp_path / "tinyparts").mkdir()
    (tmp_path / "tinyparts" / "__init__.py").touch()
    blocks = BLOCK.findall(EXTENDING.read_text(encoding="utf-8"))
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    assert [name for name, _ in blocks] == [
        f"tinyparts/{name}.py" for name in ("network", "registration", "objective", "loss")
    ]
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("tinyparts.registration")
    importlib.import_module("tinyparts.objective")
    yield
    NETWORKS.remove("tinynet")
    OBJECTIVES.remove("mean_planes")
    for name in [name for name in sys.modules if name.split(".")[0] == "tinyparts"]:
        del sys.modules[name]


def config_of(text: str) -> RunConfig:
    values = to_dict(tiny_config(epochs=1)) | tomllib.loads(text)
    return from_dict(values, where="run.toml")


@pytest.mark.usefixtures("tinyparts")
def test_a_network_and_an_objective_of_another_package_train(tiny_beton: Path, tmp_path: Path) -> None:
    config = config_of(
        """
        [network]
        name = "tinynet"
        [objective]
        method = "mean_planes"
        weight = 0.5
        teacher = { kind = "none" }
        """
    )
    assert config.name == "chestxray14_40_none_mean-none_tiny_s0"
    assert from_dict(to_dict(config), where="x") == config
    runtime = tiny_runtime(tiny_beton, tmp_path / "runs")
    result = train_run(config, runtime)
    assert result["status"] == "done"
    (line,) = runtime.folder_of(config).metrics()
    assert line["train"]["attention"] > 0.0
    assert [row["num_parameters"] for row in summaries(14) if row["network"] == "tinynet"] == [6240 + 14 * 33]
    assert (word("tinynet"), word("mean_planes")) == ("TinyNet", "Mean planes")
    assert cell_label(config).method_text == "Mean planes, random teacher"
    assert 0.0 < run_work(config, {}).passes < run_work(tiny_config(epochs=1, objective=config.objective), {}).passes


def test_what_is_not_registered_is_refused_with_what_is() -> None:
    with pytest.raises(Exception, match=r"network.name = 'tinynet' is unknown; known: densenet121, densenet40"):
        config_of('[network]\nname = "tinynet"')
    with pytest.raises(Exception, match="'transfer_learning', 'attention_transfer'"):
        config_of('[objective]\nmethod = "mean_planes"')
