"""The hash of a config does not depend on what it shares with the other runs of its grid."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import (
    SCHEMA_VERSION,
    AttentionTransfer,
    BetaSearch,
    ChannelWise,
    DataConfig,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Relational,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    from_dict,
    to_dict,
)
from harness.config.checks import as_json_text
from launch.grids.registry import load_grid

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "grids"


def twin(config: RunConfig) -> RunConfig:
    """An equal config that shares nothing and has computed nothing yet."""
    return from_dict(to_dict(config), where="twin")


@pytest.mark.parametrize("grid", ["paper", "demo", *(str(path) for path in sorted(EXAMPLES.glob("*.*")))])
def test_the_hashes_of_a_grid_are_those_of_its_configs(grid: str) -> None:
    for run in load_grid(grid).runs:
        assert run.config.hash == twin(run.config).hash
        for need in run.config.needs:
            assert need.hash == twin(need).hash


TEACHERS = st.sampled_from([
    Weights(),
    Weights(kind="none"),
    Weights(kind="run", run=RunConfig(data=DataConfig(dataset="mimic_cxr"))),
    Weights(kind="xrv", name="densenet121-res224-mimic_ch", sha256="0" * 64),
])  # fmt: skip
SEARCH = BetaSearch(
    template=RunConfig(data=DataConfig(dataset="chexpert"), objective=AttentionTransfer(teacher=Weights())),
    points=(1.0, 2.5, 1e-7),
)
OBJECTIVES = st.one_of(
    st.just(TransferLearning()),
    st.builds(AttentionTransfer, teacher=TEACHERS, beta=st.floats(1e-9, 1e9) | st.just(SEARCH)),
    st.builds(FitNet, teacher=TEACHERS, weight=st.floats(0.0, 1e6)),
    st.builds(Relational, teacher=TEACHERS),
    st.builds(ChannelWise, teacher=TEACHERS, temperature=st.floats(1e-3, 1e3)),
    st.just(LogitDistillation(teacher=Weights(kind="run", run=RunConfig(data=DataConfig(dataset="mimic_cxr"))))),
)
CONFIGS = st.builds(
    RunConfig,
    data=st.builds(DataConfig, dataset=st.just("chexpert"), rotation_deg=st.floats(0.0, 180.0)),
    network=st.builds(NetworkConfig, sync_bn=st.booleans(), head_relu=st.booleans()),
    init=TEACHERS,
    objective=OBJECTIVES,
    schedule=st.builds(Schedule, clip_value=st.none() | st.floats(0.1, 9.0), patience=st.none() | st.integers(1, 9)),
    seed=st.integers(0, 2**40),
)


def plain(value: Any) -> Any:
    """A config's fields, those left out that have their default and OMIT_DEFAULT."""
    if dataclasses.is_dataclass(value):
        return {
            item.name: plain(inner)
            for item in dataclasses.fields(value)
            for inner in [getattr(value, item.name)]
            if not (item.metadata.get("omit_default") and inner == item.default)
        }
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@settings(deadline=None)
@given(configs=st.lists(CONFIGS, min_size=1, max_size=4))
def test_any_configs_that_share_parts_have_their_own_texts_and_hashes(configs: list[RunConfig]) -> None:
    for config in configs:
        assert as_json_text(config) == json.dumps(plain(config))
        payload = {"schema": SCHEMA_VERSION, "config": plain(config)}
        assert config.hash == hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def test_the_values_of_a_config_are_a_copy() -> None:
    config = RunConfig(data=DataConfig(dataset="chexpert"))
    before = config.hash
    to_dict(config)["data"]["dataset"] = "mimic_cxr"
    assert to_dict(config)["data"]["dataset"] == "chexpert"
    assert twin(config).hash == before


def test_the_hash_of_a_config_stays_what_it_was() -> None:
    """Finished runs are found by it."""
    config = RunConfig(data=DataConfig(dataset="chexpert", subset="1k"), seed=3)
    assert config.hash == "ee05cb0f821544de21220dad2bb9bae49095b6b4562aae8cc9214191e5465d38"
