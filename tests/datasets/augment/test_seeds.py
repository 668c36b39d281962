"""``cxr split --seed`` and ``cxr convert --seed`` mean the same; two more flags set each part by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_dataset import write_dataset

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.splits.manifest import read_manifest
from launch.cli.convert import Convert, Split


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), 60)


@pytest.mark.parametrize(
    "seeds",
    [{}, {"seed": 5}, {"split_seed": 5}, {"subset_seed": 5}, {"seed": 2, "split_seed": 3, "subset_seed": 4}],
    ids=str,
)
def test_both_commands_split_alike_by_the_same_flags(root: Path, tmp_path: Path, seeds: dict[str, int]) -> None:
    manifest, out = tmp_path / "split.csv", tmp_path / "nih.beton"
    Split(dataset="chestxray14", root=root, out=manifest, **seeds).run()
    Convert(dataset="chestxray14", root=root, out=out, size=32, workers=1, **seeds).run()
    listed, samples = read_manifest(manifest), Beton.open(out).samples
    columns = ["split", "subset_rank"]
    told = listed.set_index("path")[columns]
    made = samples.set_index("name")[columns].sort_index()
    assert told.astype({"split": str}).values.tolist() == made.astype({"split": str}).values.tolist()
    settings = Beton.open(out).sidecar.settings
    seed = seeds.get("seed", 0)
    assert settings["split"]["seed"] == listed.attrs["header"]["split"]["seed"] == seeds.get("split_seed", seed)
    assert settings["subset_seed"] == listed.attrs["header"]["subset_seed"] == seeds.get("subset_seed", seed)


def ranks_and_splits(root: Path, tmp_path: Path, **seeds: int) -> tuple[list[int], list[str]]:
    out = tmp_path / f"{seeds}.csv"
    Split(dataset="chestxray14", root=root, out=out, **seeds).run()
    frame = read_manifest(out)
    return frame["subset_rank"].tolist(), frame["split"].tolist()


def test_each_seed_moves_its_own_part_alone(root: Path, tmp_path: Path) -> None:
    ranks, splits = ranks_and_splits(root, tmp_path)
    other_ranks, same_splits = ranks_and_splits(root, tmp_path, subset_seed=1)
    assert (other_ranks != ranks, same_splits == splits) == (True, True)
    _, other_splits = ranks_and_splits(root, tmp_path, split_seed=1)
    assert other_splits != splits
    assert ranks_and_splits(root, tmp_path, seed=1) == ranks_and_splits(root, tmp_path, split_seed=1, subset_seed=1)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [({"seed": -1}, "split seed = -1 must lie in"), ({"subset_seed": -2}, "subset seed = -2 must lie in")],
)
def test_seeds_out_of_range_are_refused(root: Path, tmp_path: Path, seeds: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split(dataset="chestxray14", root=root, out=tmp_path / "x.csv", **seeds).run()
    with pytest.raises(InputError, match=message):
        Convert(dataset="chestxray14", root=root, out=tmp_path / "x.beton", **seeds).run()


def test_a_manifest_leaves_nothing_for_seeds_to_say(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out the seeds"):
        Convert(dataset="chestxray14", root=root, out=tmp_path / "x.beton", manifest=tmp_path / "x.csv", seed=1).run()
