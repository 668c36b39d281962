"""Initial weights: every source, what is taken from it, and what is refused in one line."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import DenseNet121_Weights, densenet169
from weights_fixtures import imagenet_state, with_old_names, write_run

from datasets.errors import InputError
from harness.config import DataConfig, NetworkConfig, RunConfig, Weights
from harness.networks import build_network, draw_weights
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.weights.initialise import initialise
from harness.weights.weight_files import read_tensors

FILE_NAME = "densenet121-a639ec97.pth"
IMAGENET = Weights(kind="imagenet")
DENSENET121 = NetworkConfig(name="densenet121")
DENSENET40 = NetworkConfig(name="densenet40")
RUN121 = RunConfig(data=DataConfig(dataset="chestxray14"), network=DENSENET121)
RUN40 = RunConfig(data=DataConfig(dataset="chestxray14"), network=DENSENET40)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return imagenet_state()


@pytest.fixture(scope="module")
def old_file(tmp_path_factory, state) -> Path:
    path = tmp_path_factory.mktemp("imagenet") / FILE_NAME
    torch.save(with_old_names(state), path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    write_run(path, RUN121)
    write_run(path, RUN40)
    return path


def start(
    network: NetworkConfig, weights: Weights, *, runs_dir: Path = Path("none"), path: Path | None, seed: int = 3
):
    built = build_network(network, 3)
    sentence = initialise(built, weights, RuntimeConfig(runs_dir=runs_dir, imagenet_weights=path), seed=seed)
    return built.state_dict(), sentence


def random_state(network: NetworkConfig, seed: int) -> dict[str, torch.Tensor]:
    built = build_network(network, 3)
    draw_weights(built, seed)
    return built.state_dict()


def assert_taken(ours: dict, source: dict, network: NetworkConfig, taken: tuple[str, ...], seed: int = 3) -> None:
    """Tensors whose names start with ``taken`` are the source's, all others the seed's random ones."""
    drawn = random_state(network, seed)
    for name, value in ours.items():
        assert torch.equal(value, (source if name.startswith(taken) else drawn)[name]), name


@pytest.mark.parametrize("network", [DENSENET121, DENSENET40])
def test_imagenet_fills_all_but_the_head(network, state, old_file):
    ours, sentence = start(network, IMAGENET, path=old_file)
    assert_taken(ours, state, network, ("features.",))
    part = {"densenet121": "all but the classifier", "densenet40": "the shared features (conv0 to denseblock2) alone"}
    assert sentence.startswith(f"{part[network.name]} from ImageNet weights {old_file} (sha256 ")
    assert sentence.endswith(", torchvision's own has a639ec97); the rest random with seed 3")


def test_imagenet_from_safetensors_and_from_torchvisions_cache(tmp_path, monkeypatch, state, old_file):
    save_file(state, tmp_path / "weights.safetensors")
    ours, _ = start(DENSENET40, IMAGENET, path=tmp_path / "weights.safetensors")
    assert_taken(ours, state, DENSENET40, ("features.",))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / FILE_NAME
    cached.parent.mkdir(parents=True)
    shutil.copyfile(old_file, cached)
    ours, sentence = start(DENSENET40, IMAGENET, path=None)
    assert_taken(ours, state, DENSENET40, ("features.",))
    assert str(cached) in sentence


def test_the_head_depends_on_the_seed_and_not_on_other_random_numbers(old_file):
    torch.manual_seed(0)
    first, _ = start(DENSENET40, IMAGENET, path=old_file, seed=11)
    torch.rand(7)
    second, _ = start(DENSENET40, IMAGENET, path=old_file, seed=11)
    other, _ = start(DENSENET40, IMAGENET, path=old_file, seed=12)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert not torch.equal(first["squeeze.weight"], other["squeeze.weight"])


def test_offline_without_the_file_the_error_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port that refuses: offline wherever this runs
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError) as error:
        start(DENSENET40, IMAGENET, path=None)
    message = str(error.value)
    assert f"{tmp_path}/hub/checkpoints/{FILE_NAME} is absent" in message
    assert DenseNet121_Weights.IMAGENET1K_V1.url in message
    assert "put it there, or pass --imagenet-weights FILE" in message
    assert "\n" not in message
    assert capsys.readouterr().err.startswith('Downloading: "https://download.pytorch.org/')


def test_an_absent_path_names_the_file_and_its_address(tmp_path):
    with pytest.raises(
        InputError, match=f"no such file; expected torchvision's {FILE_NAME}, to be had from https://"
    ):
        start(DENSENET40, IMAGENET, path=tmp_path / "absent.pth")


@pytest.mark.parametrize(
    "content", [b"", b"not weights\n", b"PK\x03\x04 torn", b"\x80\x02}q\x00", b"\x80\x02cos\nsystem\n."]
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_garbage_is_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.\w+: not a readable file of weights") as error:
        start(DENSENET40, IMAGENET, path=path)
    assert "\n" not in str(error.value)


def test_a_torn_file_is_one_line(tmp_path, old_file):
    torn = tmp_path / "torn.pth"
    torn.write_bytes(old_file.read_bytes()[:1_000_000])
    with pytest.raises(InputError, match=r"torn\.pth: not a readable file of weights"):
        start(DENSENET40, IMAGENET, path=torn)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html><html>", "not a file of weights but a web page; download the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a Git LFS pointer to one; fetch it with git lfs",
        ),
        (b'{"a": 1}', "not a file of weights but JSON"),
        (b"\x1f\x8b\x08", "a gzip archive"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, content, said):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_tensors(tmp_path / "weights.pth")
    assert said in str(error.value)
    assert "weights_only" not in str(error.value)


def test_the_contents_decide_and_not_the_suffix(tmp_path):
    tensors = {"a": torch.ones(2)}
    save_file(tensors, tmp_path / "renamed.pth")
    torch.save(tensors, tmp_path / "renamed.safetensors")
    for name in ("renamed.pth", "renamed.safetensors"):
        assert torch.equal(read_tensors(tmp_path / name)["a"], tensors["a"])


def test_a_pickled_model_is_named_without_advice_to_run_it(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"it holds torch\.nn\.modules\.linear\.Linear, not tensors alone") as error:
        read_tensors(tmp_path / "model.pt")
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_of_torchs_cut_or_altered_anywhere_is_one_line(tmp_path, legacy):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(3, 4), "b": torch.ones(5)}, path, _use_new_zipfile_serialization=not legacy)
    whole, rng = path.read_bytes(), random.Random(0)
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(len(content))] = rng.randrange(256)
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            read_tensors(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
            assert "weights_only" not in str(error)
    assert refused > len(whole) // 7


def test_other_contents_are_refused(tmp_path, state):
    path = tmp_path / "weights.pth"
    cases = {
        "not a state dict; expected a dictionary of names and tensors": {"epoch": 3, "state_dict": state},
        "missing tensor classifier.bias and 1 more; expected torchvision's": {
            key: value for key, value in state.items() if not key.startswith("classifier")
        },
        r"unknown tensor extra; expected torchvision's densenet121-a639ec97\.pth": state | {"extra": torch.ones(1)},
        r"features\.norm5\.bias has shape \(3,\), not \(1024,\)": state | {"features.norm5.bias": torch.ones(3)},
        r"classifier\.weight has shape \(\), not \(1, 1024\)": state | {"classifier.weight": torch.tensor(1.0)},
    }
    for message, content in cases.items():
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            start(DENSENET40, IMAGENET, path=path)


def test_a_densenet169_is_refused_even_where_its_first_blocks_would_fit(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(densenet169().state_dict(), path)
    with pytest.raises(InputError, match=r"unknown tensor features\.denseblock3\.denselayer25\..* and \d+ more"):
        start(DENSENET40, IMAGENET, path=path)


@pytest.mark.parametrize(("network", "run"), [(DENSENET121, RUN121), (DENSENET40, RUN40)])
def test_a_run_gives_everything_but_the_classifier(runs_dir, network, run):
    source = load_file(RunFolder(runs_dir / run.run_id).best_dir / "model.safetensors")
    assert source["classifier.weight"].shape == (3, 1024)
    ours, sentence = start(network, Weights(kind="run", run=run), runs_dir=runs_dir, path=None)
    assert_taken(ours, source, network, ("features.", "squeeze.", "expand.", "norm5."))
    assert sentence == f"all but the classifier from run {run.run_id}; the rest random with seed 3"


def test_densenet40_takes_the_shared_features_of_a_densenet121_run(runs_dir):
    source = load_file(RunFolder(runs_dir / RUN121.run_id).best_dir / "model.safetensors")
    ours, sentence = start(DENSENET40, Weights(kind="run", run=RUN121), runs_dir=runs_dir, path=None)
    assert_taken(ours, source, DENSENET40, ("features.",))
    assert sentence.startswith("the shared features (conv0 to denseblock2) alone from run ")


def test_runs_of_networks_that_do_not_fit_are_refused(runs_dir):
    with pytest.raises(InputError, match="is a densenet40; a densenet121 starts from a densenet121 only"):
        start(DENSENET121, Weights(kind="run", run=RUN40), runs_dir=runs_dir, path=None)
    with pytest.raises(InputError, match="has head_relu = False, but this network True"):
        start(
            NetworkConfig(name="densenet40", head_relu=True),
            Weights(kind="run", run=RUN40),
            runs_dir=runs_dir,
            path=None,
        )


def test_absent_and_unfinished_runs_are_refused(tmp_path):
    weights = Weights(kind="run", run=RUN40)
    with pytest.raises(InputError, match="no such run; train it first"):
        start(DENSENET40, weights, runs_dir=tmp_path, path=None)
    write_run(tmp_path, RUN40, done=False)
    with pytest.raises(InputError, match=r"the run is not finished \(no result.json\); train it to its end"):
        start(DENSENET40, weights, runs_dir=tmp_path, path=None)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"run_id": "other"}, "metadata run_id = 'other', but the run's config says 'chestxray14_full_"),
        ({"network": "densenet121"}, "metadata network = 'densenet121', but the run's config says 'densenet40'"),
        ({"labels": '["one"]'}, "expected a JSON list of 3 label names"),
        ({"labels": "one, two"}, "expected a JSON list of 3 label names"),
    ],
)
def test_a_checkpoint_that_its_config_does_not_describe_is_refused(tmp_path, metadata, message):
    write_run(tmp_path, RUN40, metadata=metadata)
    with pytest.raises(InputError, match=message):
        start(DENSENET40, Weights(kind="run", run=RUN40), runs_dir=tmp_path, path=None)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    write_run(tmp_path, RUN40)
    folder = RunFolder(tmp_path / RUN40.run_id)
    weights = Weights(kind="run", run=RUN40)
    folder.result_file.write_text(json.dumps({"weights_hash": "0" * 64}), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"model\.safetensors: not the weights that .*result\.json was computed with"
    ):
        start(DENSENET40, weights, runs_dir=tmp_path, path=None)
    file = folder.best_dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"model\.safetensors: not a whole safetensors file"):
        start(DENSENET40, weights, runs_dir=tmp_path, path=None)


def test_no_weights_are_warned_of(caplog):
    ours, sentence = start(DENSENET40, Weights(kind="none"), path=None)
    assert_taken(ours, {}, DENSENET40, ("nothing",))
    assert sentence == "random weights of seed 3"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("the network starts from random weights (kind = 'none')")


def test_a_refused_source_leaves_the_network_as_it_was(tmp_path):
    network = build_network(DENSENET40, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError):
        initialise(network, IMAGENET, RuntimeConfig(imagenet_weights=tmp_path / "absent.pth"), seed=8)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
