"""Maps and boxes: a map at the lesion scores 1, one elsewhere 0, and ties score their share."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process_cli import run_cli
from PIL import Image
from tiny_runs import LABELS, SIZE, FinishedRun
from torch import Tensor, nn

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.files import read_json
from datasets.images.resize import fit, fit_box
from datasets.phantom.chestxray14 import BOXED, BOXES, PROFILE
from datasets.phantom.layout import Job, draw_pixels
from datasets.phantom.patients import draw_patient
from datasets.phantom.write import write_phantom
from datasets.sources.boxes import FindingBox, read_boxes
from harness.config import NetworkConfig
from harness.evaluation.attention_maps import attention_maps, grad_cam
from harness.evaluation.explain import map_makers
from harness.evaluation.localisation import box_mask, boxed_findings, enlarged, iou, localise, pointing
from harness.export.explain import explain_images
from harness.export.saved_model import open_model
from harness.networks import Network, NetworkOutput, build_network
from harness.networks.backbone import Backbone
from harness.runs.folder import RunFolder


class QuadrantNetwork(Network):
    """Plane j is quadrant j's brightness, and label j's logit is the mean of plane j, or of the one ``beside`` it."""

    def __init__(self, *, beside: int = 0) -> None:
        super().__init__(NetworkConfig(name="densenet40"))
        self.pool = nn.AvgPool2d(SIZE // 2)
        self.tap = nn.Identity()
        self.beside = beside
        quadrants = torch.eye(4).reshape(4, 2, 2)[: len(LABELS)]
        self.quadrants = nn.Parameter(quadrants, requires_grad=False)

    @property
    def tap_module(self) -> nn.Module:
        return self.tap

    def forward(self, images: Tensor) -> NetworkOutput:
        planes = self.tap((self.pool(images[:, :1]) + 3.0) * self.quadrants)
        return NetworkOutput(planes.mean((2, 3)).roll(-self.beside, dims=1), planes)


def quadrant_boxes(beton: Beton, *, shift: int = 0) -> list[FindingBox]:
    """The quadrant of every positive label of every image, or the next one."""
    found = []
    for row, name in zip(beton.targets, beton.samples["name"], strict=True):
        for output in np.flatnonzero(row == 1):
            y, x = divmod(int(output) + shift, 2)
            box = (32.0 * x, 32.0 * y, 32.0 * x + 32, 32.0 * y + 32)
            found.append(FindingBox(name=str(name), label=LABELS[output], box=box))
    return found


@pytest.mark.parametrize(
    ("beside", "shift", "points", "overlap"), [(0, 0, 1.0, 925 / 1024), (1, 0, 0.0, 0.0), (0, 1, 0.0, 0.0)]
)
def test_grad_cam_at_the_lesion_scores_one_and_elsewhere_zero(
    tiny_beton: Path, beside: int, shift: int, points: float, overlap: float
) -> None:
    """A network that looks beside the lesion, and a box that was shifted, are told apart from the right ones.

    The overlap lacks 99 of a quadrant's 1,024 pixels, at the corner that bilinear interpolation makes round.
    """
    beton, network = Beton.open(tiny_beton), QuadrantNetwork(beside=beside)
    listed = quadrant_boxes(beton, shift=shift)
    findings = boxed_findings(listed, beton, "test", LABELS, resize="shorter", side=SIZE)
    scores = localise(findings, beton, map_makers(network)["grad_cam"], threshold=0.5)
    positives = (beton.targets[beton.indices("test")] == 1).sum(axis=0)
    assert list(scores) == list(LABELS)
    for item, count in zip(scores.values(), positives, strict=True):
        assert (item.images, item.pointing, item.iou, item.chance) == (count, points, overlap, 0.25)


def test_attention_is_one_map_for_all_labels(tiny_beton: Path) -> None:
    """Of planes that each lie in one quadrant of four, unit planes are even over the first three."""
    images = Beton.open(tiny_beton).gather(np.arange(2))
    maps = attention_maps(QuadrantNetwork(), images)
    assert maps == pytest.approx(np.array([[[4 / 3, 4 / 3], [4 / 3, 0]]] * 2), rel=1e-5)


@pytest.mark.parametrize("name", ["densenet40", "densenet121", "torchvision/resnet18"])
def test_grad_cam_is_its_formula(name: str) -> None:
    """Selvaraju et al.: the planes weighted by the mean gradient of the logit, negative values cut off."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(name=name, image_size=64 if "/" in name else None), 3)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    found = grad_cam(network, images, [2, 0])
    kept: dict[str, Any] = {}

    def keep(_module: nn.Module, _inputs: Any, planes: Tensor) -> None:
        kept["planes"] = planes
        planes.retain_grad()

    hook = network.tap_module.register_forward_hook(keep)
    from datasets.augment.network_input import to_network_input

    inputs = to_network_input(torch.from_numpy(images)[:, None]).requires_grad_()
    logits = network(inputs).logits
    (logits[0, 2] + logits[1, 0]).backward()
    hook.remove()
    planes = kept["planes"]
    expected = (planes.grad.mean((2, 3), keepdim=True) * planes).sum(1).relu().detach().numpy()
    assert expected.max() > 0
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_a_tap_that_gives_tokens_has_no_grad_cam(capsys: pytest.CaptureFixture[str]) -> None:
    network = build_network(NetworkConfig(name="torchvision/resnet18", image_size=64), 3)
    assert isinstance(network, Backbone)
    assert list(map_makers(network)) == ["attention", "grad_cam"]
    network.tap = network.tap._replace(layout="tokens")
    assert list(map_makers(network)) == ["attention"]
    assert "no Grad-CAM: torchvision/resnet18: its tap" in capsys.readouterr().err


def test_pointing_and_overlap_exactly() -> None:
    mask = box_mask([(1.0, 1.0, 3.0, 2.0)], 4)
    assert mask.sum() == 2 and mask[1, 1] and mask[1, 2]
    page = np.zeros((4, 4), np.float32)
    page[1, 1], page[2, 2], page[3, 3] = 1.0, 0.6, 0.4
    assert (pointing(page, mask), iou(page, mask, 0.5)) == (1.0, 1 / 3)
    assert iou(page, mask, 0.3) == 1 / 4
    even = np.zeros((4, 4), np.float32)  # a map without a maximum points nowhere: by chance
    assert (pointing(even, mask), iou(even, mask, 0.5)) == (2 / 16, 0.0)
    assert box_mask([(3.6, 0.1, 3.9, 0.2)], 4)[0, 3]  # less than a pixel is a pixel


def test_the_planted_lesions_of_a_phantom_lie_in_their_boxes(tmp_path: Path) -> None:
    """What differs from the same picture without the finding, wherever it is, has its maximum in the box."""
    job = Job(dataset="chestxray14", patients=40, seed=5, size=96)
    (written,) = write_phantom(tmp_path / "p", ["chestxray14"], patients=40, seed=5, size=96, workers=1)
    boxes = read_boxes(written.folder / BOXES)
    with (written.folder / "Data_Entry_2017_v2020.csv").open() as file:
        labelled = {row["Image Index"]: set(row["Finding Labels"].split("|")) for row in csv.DictReader(file)}
    assert all(item.label in labelled[item.name] for item in boxes)
    scored = shifted = 0
    for name, label in sorted({(item.name, item.label) for item in boxes if item.label in ("Mass", "Nodule")}):
        number, study = int(name[:8]), int(name[9:12])
        patient = draw_patient(job.seed, PROFILE, number)
        if number == 3:  # whose studies all show one picture
            continue
        shown = patient.studies[study]
        case = tuple(finding for finding in shown.case if BOXED.get(finding.name) != label)
        without = replace(shown, case=case)
        studies = (*patient.studies[:study], without, *patient.studies[study + 1 :])
        drawn = (draw_pixels(job, PROFILE, each, study, 0) for each in (patient, replace(patient, studies=studies)))
        change, rest = (fit(page, 64).astype(np.float32) for page in drawn)
        places = [fit_box(item.box, 1024, 1024, 64) for item in boxes if (item.name, item.label) == (name, label)]
        change = np.abs(change - rest)
        mask = box_mask(places, 64)
        assert pointing(change, mask) == 1.0
        assert iou(change, mask, 0.5) > 0.4
        scored += 1
        if len(places) == 1:
            shifted += 1
            assert pointing(change, np.roll(mask, 32, axis=1)) == 0.0
    assert scored > shifted > 5


def test_boxes_of_other_images_and_labels_are_left_out(tiny_beton: Path) -> None:
    beton = Beton.open(tiny_beton)
    name = str(beton.samples["name"].iloc[beton.indices("test")[0]])
    good = FindingBox(name=name, label="Pleural Effusion", box=(0, 0, 8, 8))
    others = [replace(good, name="x.png"), replace(good, label="Hernia"), replace(good, box=(70, 0, 80, 8))]
    (found,) = boxed_findings([good, *others], beton, "test", LABELS, resize="shorter", side=SIZE)
    assert (found.label, found.boxes) == ("Effusion", ((0, 0, 8, 8),))
    with pytest.raises(InputError, match=r"none of the 3 boxes is of an image of split test"):
        boxed_findings(others, beton, "test", LABELS, resize="shorter", side=SIZE)


@pytest.fixture
def boxes(tiny_beton: Path, tmp_path: Path) -> Path:
    """The quadrants as a table."""
    lines = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    for item in quadrant_boxes(Beton.open(tiny_beton)):
        left, top, right, bottom = item.box
        lines.append(f"{item.name},{item.label},{left},{top},{right - left},{bottom - top}")
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "boxes.csv"


def test_the_command_keeps_the_scores_in_the_run(
    finished_run: FinishedRun, tiny_beton: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / "run")))
    command = ["explain", str(folder.path), "--boxes", str(boxes), "--box-side", str(SIZE), "--device", "cpu"]
    command += ["--data-dir", str(tiny_beton.parent)]
    assert run_cli(*command, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == read_json(folder.explanations_file)
    assert printed["weights_hash"] == finished_run.result["weights_hash"]
    assert set(printed["methods"]) == {"attention", "grad_cam"}
    for scores in printed["methods"].values():
        assert list(scores["labels"]) == list(LABELS)
        values = [item["pointing"] for item in scores["labels"].values()]
        assert scores["mean"]["pointing"] == pytest.approx(np.mean(values))
        assert scores["mean"]["chance"] == 0.25
    assert run_cli(*command) == 0
    told = capsys.readouterr().out
    assert "Grad-CAM" in told and "pointing" in told  # on one line or two, as the terminal is wide


def test_a_share_above_one_is_refused(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("explain", "run", "--boxes", str(boxes), "--threshold", "1.5") == 2
    assert "--threshold 1.5: expected above 0 and at most 1" in capsys.readouterr().err


def test_images_are_drawn_under_their_maps(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = finished_run.runtime.data_dir / "images"
    (tmp_path / "0003.png").write_bytes((images / "0003.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no image")
    files = (str(images / "0003.png"), str(tmp_path / "0003.png"), str(tmp_path / "bad.png"))
    options = ("--out", str(tmp_path / "maps"), "--label", "Mass", "Nodule", "--device", "cpu")
    assert run_cli("explain", str(finished_run.folder.path), *files, *options) == 2
    captured = capsys.readouterr()
    assert "bad.png: " in captured.err and "1 of 3 images could not be used" in captured.err
    drawn = [Path(line) for line in captured.out.split()]
    assert [path.name for path in drawn] == ["0003.png", "0003-2.png"]
    pictures = []
    for path in drawn:
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    assert pictures[0].shape[1] > 3 * pictures[0].shape[0]  # the page, one attention map and two of Grad-CAM
    assert np.array_equal(*pictures)


def test_maps_of_an_image_file_are_those_of_its_page(finished_run: FinishedRun) -> None:
    model = open_model(finished_run.folder.path)
    file = finished_run.runtime.data_dir / "images" / "0003.png"
    (found,) = explain_images(model, [file], finished_run.runtime)
    page = Beton.open(finished_run.runtime.beton_for("chestxray14")).gather(np.array([3]))
    assert np.array_equal(found.page, page[0])
    ((label, probability),) = found.probabilities.items()
    output = LABELS.index(label)
    assert probability > 0
    expected = enlarged(grad_cam(model.network, page, [output]), SIZE)[0]
    assert found.grad_cam[label] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    with pytest.raises(InputError, match="--label Hernia: the network's labels are Effusion, Mass, Nodule"):
        next(explain_images(model, [file], finished_run.runtime, labels=["Hernia"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either images, to be drawn, or --boxes FILE"),
        (("a.png", "--boxes", "b.csv"), "give either images, to be drawn, or --boxes FILE"),
        (("a.png",), "say where the drawings go with --out DIR"),
    ],
)
def test_what_is_missing_is_asked_for(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("explain", "run", *options) == 2
    assert message in capsys.readouterr().err
