"""The graph of what reached a run's weights, and what it says of patients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from split_beton import Row, make_beton
from tiny_runs import tiny_config

from datasets.files import write_json
from harness.config import AttentionTransfer, BetaSearch, DataConfig, NetworkConfig, RunConfig, Weights
from harness.runs.folder import RunFolder
from harness.training.preflight import write_config
from launch.lineage.graph import OWN, Data, Edge, Lineage, Published, Search, Trained
from launch.lineage.patients import exposure, finder, judge


def run_on(dataset: str, init: Weights | None = None, **changes: object) -> RunConfig:
    """A DenseNet-121, which can teach."""
    data, network = DataConfig(dataset=dataset, image_size=32, subset="2"), NetworkConfig(name="densenet121")
    return tiny_config(data=data, network=network, init=init or Weights(kind="none"), **changes)


def weights_of(run: RunConfig) -> Weights:
    return Weights(kind="run", run=run)


def xrv(name: str) -> Weights:
    return Weights(kind="xrv", name=f"densenet121-res224-{name}", sha256="0" * 64)  # type: ignore[arg-type]


def owners(config: RunConfig) -> list[tuple[str, str, str]]:
    lineage = Lineage()
    return [(seen.role, seen.owner.name, seen.data.dataset) for seen in lineage.seen(lineage.add(config))]


def test_the_graph_goes_through_teachers_and_initial_weights() -> None:
    first = run_on("chestxray14")
    teacher = run_on("mimic_cxr", weights_of(first))
    student = run_on("chexpert", Weights(), objective=AttentionTransfer(teacher=weights_of(teacher)))
    assert owners(student) == [
        (OWN, student.name, "chexpert"),
        ("teacher", teacher.name, "mimic_cxr"),
        ("teacher", first.name, "chestxray14"),
    ]
    lineage = Lineage([student], {student.run_id: "sha256:0"})
    assert lineage.edges[Trained(student.run_id, student.name)] == (
        Edge("trained on", Data(dataset="chexpert", split="train", subset="2", content_hash="sha256:0")),
        Edge("selected on", Data(dataset="chexpert", split="validation", content_hash="sha256:0")),
        Edge("started from", Published("imagenet")),
        Edge("learnt from", Trained(teacher.run_id, teacher.name)),
    )
    assert lineage.edges[Published("imagenet")] == ()


def test_a_search_has_seen_what_its_runs_were_trained_and_selected_on() -> None:
    template = run_on("vindr_cxr", objective=AttentionTransfer(teacher=weights_of(run_on("mimic_cxr"))))
    search = BetaSearch(template=template, points=(1.0, 2.0))
    student = run_on("chexpert", objective=AttentionTransfer(teacher=Weights(), beta=search))
    lineage = Lineage([student])
    found = lineage.seen(lineage.add(student))
    assert [(seen.role, seen.data.dataset, seen.data.split) for seen in found] == [
        (OWN, "chexpert", "train"),
        ("beta search", "vindr_cxr", "train"),
        ("beta search", "vindr_cxr", "validation"),
        ("beta search", "mimic_cxr", "train"),
        ("beta search", "mimic_cxr", "validation"),
    ]
    assert {seen.owner for seen in found[1:]} == {Search(f"the beta search of {template.name}", template.run_id)}


@pytest.mark.parametrize(
    ("name", "dataset", "level"),
    [
        ("mimic_ch", "mimic_cxr", "unknown"),
        ("mimic_ch", "chexpert", "unrelated"),
        ("nih", "rsna_pneumonia", "unknown"),
        ("rsna", "chestxray14", "unknown"),
        ("all", "chexpert", "unknown"),
    ],
)
def test_torchxrayvisions_weights_have_seen_their_own_datasets(name: str, dataset: str, level: str) -> None:
    """Also where they reach a run through its teacher."""
    teacher = run_on("vindr_cxr", xrv(name))
    for config in (run_on(dataset, xrv(name)), run_on(dataset, weights_of(teacher))):
        lineage = Lineage()
        found = lineage.seen(lineage.add(config))
        published = [seen for seen in found if isinstance(seen.owner, Published)]
        assert {seen.role for seen in published} == {"initial weights"}
        scored = Data(dataset=dataset, split="test", content_hash="sha256:0")
        levels = {judge(seen.data, scored, lambda _: None).level for seen in published}
        assert ("unknown" if "unknown" in levels else "unrelated") == level


def test_patients_are_compared_by_the_betons_of_the_recorded_hashes(tmp_path: Path) -> None:
    rows: list[Row] = [("a.png", "1", "train", 1), ("b.png", "2", "train", 2), ("c.png", "2", "test", 3)]
    whole = make_beton(tmp_path, "chestxray14", rows)
    part = make_beton(tmp_path, "rsna_pneumonia", [("d.png", "1", "test", 4), ("e.png", "3", "train", 5)])
    find = finder(lambda data: [tmp_path / "absent.beton", tmp_path / f"{data.dataset}.beton"])
    seen = Data(dataset="chestxray14", split="train", content_hash=whole.sidecar.content_hash)
    scored = Data(dataset="rsna_pneumonia", split="test", content_hash=part.sidecar.content_hash)
    (leak,) = judge(seen, scored, find).leaks
    assert str(leak) == "1 patients in both its training images and the test split of rsna_pneumonia.beton: 1"
    assert judge(dataclasses.replace(seen, content_hash="sha256:other"), scored, find).level == "unknown"
    assert judge(seen, dataclasses.replace(scored, dataset="chexpert"), find).level == "unrelated"
    own = dataclasses.replace(seen, split="test")
    assert judge(seen, own, find).level == "apart"  # as its manifest has it
    (leak,) = judge(seen, own, find, trust_split=False).leaks
    assert (leak.kind, leak.examples) == ("patients", ("2",))
    blank = make_beton(tmp_path, "padchest", [("f.png", "1", "train", -7), ("g.png", "2", "test", 6)])
    white = make_beton(tmp_path, "brax", [("h.png", "3", "test", -7), ("i.png", "4", "train", 7)])
    before, after = (
        Data(dataset=beton.sidecar.dataset, split=split, content_hash=beton.sidecar.content_hash)
        for beton, split in ((blank, "train"), (white, "test"))
    )
    assert judge(before, after, find).level == "apart"  # both are of one gray, which tells nothing of a patient
    first = dataclasses.replace(seen, subset="1")
    assert judge(first, own, find, trust_split=False).level == "apart"


@pytest.mark.parametrize("named_by", ["its place beside the student", "what the student recorded"])
def test_a_teacher_is_found_whatever_its_folder_is_called(named_by: str, tmp_path: Path) -> None:
    rows: list[Row] = [("a.png", "1", "train", 1), ("b.png", "2", "train", 2), ("c.png", "3", "test", 3)]
    beton = make_beton(tmp_path, "chestxray14", rows)
    teacher = run_on("chestxray14")
    student = run_on("chestxray14", objective=AttentionTransfer(teacher=weights_of(teacher)), seed=1)
    beside = named_by.startswith("its")
    places = {teacher.run_id: tmp_path / ("runs" if beside else "elsewhere") / "teacher"}
    for config, place in ((teacher, places[teacher.run_id]), (student, tmp_path / "runs" / "student")):
        place.mkdir(parents=True)
        write_config(RunFolder(place), config)
        found = {} if beside else {"run_folders": {key: str(path) for key, path in places.items()}}
        write_json(place / "provenance.json", {"content_hash": beton.sidecar.content_hash, "runtime": found})
    folder = RunFolder(tmp_path / "runs" / "student")
    assert exposure(folder, beton, "test", tmp_path) == ((), ())
    places[teacher.run_id].rename(tmp_path / "moved")
    assert len(exposure(folder, beton, "test", tmp_path).unknown) == 1
