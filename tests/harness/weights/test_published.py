"""Weights that torchvision and timm publish: from a file, a folder or a cache, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from weights_fixtures import imagenet_state, write_run

from datasets.errors import InputError
from harness.config import DataConfig, NetworkConfig, RunConfig, Weights
from harness.networks import build_network
from harness.runs.runtime import RuntimeConfig
from harness.weights.imagenet import read_imagenet
from harness.weights.initialise import initialise
from harness.weights.teacher import read_teacher

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
RESNET = NetworkConfig(name="timm/test_resnet", image_size=64)
NATIVE_VIT = NetworkConfig(name="timm/test_vit.r160_in1k", image_size=160)
FILES = {"timm/test_resnet": "test_resnet.r160_in1k.safetensors", "timm/test_vit.r160_in1k": "test_vit.r160_in1k.pth"}
FILES |= {"torchvision/shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e.pth"}


def published(name: str) -> torch.nn.Module:
    """The library's whole network with its own 1000 classes, random."""
    library, _, model = name.partition("/")
    torch.manual_seed(3)
    return timm.create_model(model) if library == "timm" else torchvision.models.get_model(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files under the names that the libraries give them."""
    place = tmp_path_factory.mktemp("weights")
    for name, file in FILES.items():
        state = published(name).state_dict()
        save_file(state, place / file) if file.endswith(".safetensors") else torch.save(state, place / file)
    return place


def start(network: NetworkConfig, place: Path | None) -> tuple[dict[str, torch.Tensor], str]:
    built = build_network(network, 3)
    origin = initialise(built, Weights(kind="imagenet"), RuntimeConfig(imagenet_weights=place), seed=3)
    return built.state_dict(), origin


@pytest.mark.parametrize("name", FILES)
def test_all_but_the_classifier_is_the_files(name: str, folder: Path) -> None:
    network = NetworkConfig(name=name, image_size=160)
    theirs = published(name).state_dict()
    for place in (folder, folder / FILES[name]):
        ours, origin = start(network, place)
        kept = {key.removeprefix("features."): value for key, value in ours.items() if key.startswith("features.")}
        assert all(torch.equal(value, theirs[key]) for key, value in kept.items())
        assert theirs.keys() - kept.keys() in ({"fc.weight", "fc.bias"}, {"head.weight", "head.bias"})
        assert ours["classifier.weight"].shape[0] == 3
        assert origin.startswith(f"all but the classifier from {name} weights {folder / FILES[name]} (sha256 ")


def test_a_published_network_teaches_as_it_is(folder: Path) -> None:
    config = Weights(kind="imagenet", network=NetworkConfig(name="torchvision/shufflenet_v2_x0_5", image_size=64))
    teacher = read_teacher(config, RuntimeConfig(imagenet_weights=folder))
    reference = published("torchvision/shufflenet_v2_x0_5").eval()
    with torch.no_grad():
        assert torch.equal(teacher.network(IMAGES).logits, reference(IMAGES))
    assert teacher.labels is None and not teacher.network.training


def test_positions_of_a_vision_transformer_are_laid_out_anew_for_other_images(folder: Path) -> None:
    native, _ = start(NATIVE_VIT, folder)
    small, _ = start(NetworkConfig(name=NATIVE_VIT.name, image_size=64), folder)
    differing = {key for key, value in native.items() if small[key].shape != value.shape}
    assert differing == {"features.pos_embed"}
    assert (native["features.pos_embed"].shape[1], small["features.pos_embed"].shape[1]) == (101, 17)
    assert torch.equal(native["features.pos_embed"][:, 0], small["features.pos_embed"][:, 0])


def test_the_cache_of_each_library_is_looked_into(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    name = "torchvision/shufflenet_v2_x0_5"
    with pytest.raises(InputError, match=f"no file with {name}'s weights IMAGENET1K_V1 in the cache") as caught:
        start(NetworkConfig(name=name, image_size=64), None)
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    assert f"nothing is downloaded: fetch {url} elsewhere, put it at DIR/{FILES[name]}" in str(caught.value)
    cached = tmp_path / "hub" / "checkpoints"
    cached.mkdir(parents=True)
    (cached / FILES[name]).symlink_to(folder / FILES[name])
    assert f"weights {cached / FILES[name]} (sha256" in start(NetworkConfig(name=name, image_size=64), None)[1]
    with pytest.raises(InputError, match=r"weights r160_in1k in .*models--timm--test_resnet.r160_in1k"):
        start(RESNET, None)


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("timm/test_resnet", "test_vit.r160_in1k.pth", "missing tensor bn1.bias and "),
        ("timm/test_resnet.r160_in1k", "none.pth", "no such file; expected timm/test_resnet.r160_in1k's weights"),
        ("timm/test_convnext", "", "no file with timm/test_convnext's weights r160_in1k in"),
        ("timm/mixnet_xxl", "", "timm publishes no weights of timm/mixnet_xxl"),
    ],
)
def test_a_wrong_or_missing_file_is_one_line(name: str, file: str, message: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        start(NetworkConfig(name=name, image_size=160), folder / file)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_also_holds_torchvisions_densenet121(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"densenet121-a639ec97.pth: no such file; expected torchvision's"):
        read_imagenet(tmp_path)
    torch.save(imagenet_state(), tmp_path / "densenet121-a639ec97.pth")
    assert read_imagenet(tmp_path).network == NetworkConfig(name="densenet121")


def test_a_run_of_another_image_size_starts_a_resnet_but_no_vision_transformer(tmp_path: Path) -> None:
    for name, fits in (("timm/test_resnet", True), ("timm/test_vit", False)):
        run = RunConfig(data=DataConfig(dataset="chestxray14", image_size=96), network=NetworkConfig(name=name))
        state = write_run(tmp_path, run)
        network = build_network(NetworkConfig(name=name, image_size=64), 3)
        weights, runtime = Weights(kind="run", run=run), RuntimeConfig(runs_dir=tmp_path)
        if fits:
            initialise(network, weights, runtime, seed=0)
            assert torch.equal(network.state_dict()["features.conv1.0.weight"], state["features.conv1.0.weight"])
        else:
            with pytest.raises(InputError, match="laid out for images of 96 px, this network for 64 px; take a run"):
                initialise(network, weights, runtime, seed=0)
