"""Networks of torchvision and timm: what they compute, their taps, scopes, random weights, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from datasets.errors import InputError
from harness.config import NetworkConfig
from harness.networks import build_network, draw_weights, multiply_adds, planes_shape, trainable_parameters
from harness.networks.backbone import Backbone, find_tap
from harness.networks.build import on_meta
from harness.networks.library import probe
from harness.training.sync_batch_norm import synchronised

RESNET = NetworkConfig(name="timm/test_resnet", image_size=64)
VIT = NetworkConfig(name="timm/test_vit", image_size=64)


def images(batch: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def backbone(config: NetworkConfig, num_outputs: int = 3) -> Backbone:
    network = build_network(config, num_outputs)
    assert isinstance(network, Backbone)
    return network


def test_a_resnet_computes_what_torchvision_computes() -> None:
    network = backbone(NetworkConfig(name="torchvision/resnet18", image_size=64)).eval()
    reference = torchvision.models.resnet18(num_classes=3).eval()
    reference.load_state_dict({key.removeprefix("features."): value for key, value in renamed(network).items()})
    planes = []
    reference.layer4.register_forward_hook(lambda *args: planes.append(args[2]))
    with torch.no_grad():
        output, expected = network(images()), reference(images())
    assert torch.equal(output.logits, expected)
    assert torch.equal(output.attention, planes[0])
    assert network.num_planes == 512


def renamed(network: Backbone) -> dict[str, torch.Tensor]:
    return {key.replace("classifier.", "fc."): value for key, value in network.state_dict().items()}


def test_planes_of_a_vision_transformer_are_its_patches() -> None:
    network = backbone(NetworkConfig(name=VIT.name, image_size=64, tap="blocks.3")).eval()
    tokens = []
    network.features.blocks[3].register_forward_hook(lambda *args: tokens.append(args[2]))
    with torch.no_grad():
        planes = network(images()).attention
    assert planes.shape == (2, 64, 4, 4)
    assert tokens[0].shape == (2, 17, 64)  # a class token before those of 4 x 4 patches
    for row in range(4):
        for column in range(4):
            assert torch.equal(planes[:, :, row, column], tokens[0][:, 1 + 4 * row + column])


@pytest.mark.parametrize(
    ("name", "tap", "planes"),
    [
        ("torchvision/resnet50", "layer4", (2048, 7, 7)),
        ("torchvision/convnext_tiny", "features", (768, 7, 7)),
        ("torchvision/densenet121", "features.denseblock4", (1024, 7, 7)),  # what follows overwrites norm5's output
        ("torchvision/swin_t", "features", (768, 7, 7)),  # whose layers have channels last
        ("torchvision/vit_b_16", "encoder.layers", (768, 14, 14)),
        ("torchvision/regnet_y_400mf", "trunk_output", (440, 7, 7)),  # cannot be built on the meta device
        ("timm/convnext_tiny", "stages.3", (768, 7, 7)),
        ("timm/efficientnet_b0", "blocks.6", (320, 7, 7)),
        ("timm/swin_tiny_patch4_window7_224", "layers.3", (768, 7, 7)),
        ("timm/vit_tiny_patch16_224", "blocks.11", (192, 14, 14)),
    ],
)
def test_the_tap_is_timms_last_features_or_the_last_planes_that_no_norm_has_scaled(
    name: str, tap: str, planes: tuple[int, int, int]
) -> None:
    config = NetworkConfig(name=name, image_size=224)
    assert (find_tap(config).name, planes_shape(config, 224)) == (tap, planes)


def test_listed_taps_are_the_outermost_with_one_output_and_all_can_be_taken() -> None:
    found = probe("timm/test_vit", 64)
    assert found.listed[-3:] == ("blocks.5.mlp", "blocks.5", "norm")
    assert {"blocks.4", "blocks.4.attn"} <= set(found.listed)
    network = backbone(VIT).eval()
    for tap in ("patch_embed", "blocks.2", "norm"):
        other = backbone(NetworkConfig(name=VIT.name, image_size=64, tap=tap)).eval()
        with torch.no_grad():
            assert other.attention_planes(images()).shape == (2, *found.taps[tap].shape)
            assert torch.equal(other(images()).logits, network(images()).logits)


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("layer5", "has no module 'layer5'; near: layer4, layer3, layer2; 'cxr models torchvision/resnet18 --taps'"),
        ("layer4.0.bn1", "module 'layer4.0.bn1' is changed in place by what follows it; near: "),
        ("layer1.0.relu", "module 'layer1.0.relu' runs more than once; near: "),
        ("fc", "module 'fc' changes nothing"),
    ],
)
def test_a_module_that_gives_no_planes_is_refused(tap: str, message: str) -> None:
    with pytest.raises(InputError, match=r"^network.tap: torchvision/resnet18: ") as caught:
        on_meta(NetworkConfig(name="torchvision/resnet18", tap=tap))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/resnet81", "has no such network; near: resnet18"),
        ("torchvision/resnet50.V1", "has no weights 'V1' of resnet50; known: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision/squeezenet1_0", "its classifier is no linear layer"),
        ("torchvision/googlenet", "gives no single vector of features"),
        ("timm/convnext_tyny", "has no such network; near: convnext_tiny"),
        ("timm/test_resnet.in1k", "has no weights 'in1k' of test_resnet; known: r160_in1k"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning:torchvision")
def test_what_the_library_does_not_have_is_refused_with_what_is_near(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"network.name = '{name}': ") as caught:
        on_meta(NetworkConfig(name=name))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_images_that_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(InputError, match=r"timm/mixer_s32_224 does not take images of 64 px \(Input height"):
        on_meta(NetworkConfig(name="timm/mixer_s32_224", image_size=64))
    assert planes_shape(VIT, 64) == (64, 4, 4)
    with pytest.raises(
        InputError, match="timm/test_vit is laid out for images of 64 px and does not take those of 96"
    ):
        planes_shape(VIT, 96)


def test_without_timm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"need the package timm: pip install 'cxr-harness\[backbones\]'"):
        on_meta(NetworkConfig(name="timm/no_such_network"))


@pytest.mark.parametrize("scope", ["layer4", "layer4+classifier", "classifier", "conv1+layer3.0"])
def test_a_scope_of_modules_trains_them_and_the_classifier(scope: str) -> None:
    config = NetworkConfig(name=RESNET.name, image_size=64, scope=scope, frozen_bn="eval")
    network = backbone(config)
    wanted = tuple(f"features.{name}." for name in scope.split("+") if name != "classifier")
    names = [name for name, _ in network.named_parameters() if name.startswith((*wanted, "classifier."))]
    assert [name for name, parameter in network.named_parameters() if parameter.requires_grad] == names
    assert len(trainable_parameters(network, config)) == len(names)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()(images()).logits.sum().backward()
    changed = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert all(name.startswith(wanted) for name in changed) and (len(changed) > 0) == (len(wanted) > 0)


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("layer5", "has no module 'layer5'; near: layer4"),
        ("layer4+bn9", "has no module 'bn9'; near: bn1"),
        ("global_pool", "module 'global_pool' has no parameters"),
    ],
)
def test_a_scope_of_other_modules_is_refused(scope: str, message: str) -> None:
    with pytest.raises(InputError, match=f"network.scope = '{scope.replace('+', '.')}': timm/test_resnet") as caught:
        on_meta(NetworkConfig(name=RESNET.name, scope=scope))
    assert message in str(caught.value)


@pytest.mark.parametrize("config", [RESNET, VIT])
def test_random_weights_are_the_librarys_own_and_depend_on_the_seed_alone(config: NetworkConfig) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = backbone(config), backbone(config)
    assert torch.equal(torch.get_rng_state(), state)
    draw_weights(first, seed=7)
    torch.manual_seed(2)
    draw_weights(second, seed=7)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    draw_weights(second, seed=8)
    for name in ("classifier.weight", "features.blocks.0.attn.qkv.weight", "features.layer1.0.conv1.weight"):
        if name in first.state_dict():
            assert not torch.equal(first.state_dict()[name], second.state_dict()[name])
    assert first.classifier.bias.eq(0).all()
    if config is VIT:  # timm draws positions from a normal distribution of 0.02 and leaves biases at 0
        assert first.features.blocks[0].mlp.fc1.bias.eq(0).all()
        assert first.features.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_step_is_a_function_of_its_batch() -> None:
    """torchvision's MobileNet has dropout before its classifier, and Swin leaves out blocks at random."""
    network = backbone(NetworkConfig(name="torchvision/mobilenet_v3_small", image_size=64)).train()
    with torch.no_grad():
        assert torch.equal(network(images()).logits, network(images()).logits)
    swin = on_meta(NetworkConfig(name="torchvision/swin_t"))
    rates = [module.p for module in swin.modules() if hasattr(module, "p")]
    assert len(rates) > 10 and set(rates) == {0.0}


def test_images_are_normalised_as_the_library_does_it() -> None:
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = (pixels - mean) / std
    torch.testing.assert_close(backbone(VIT).to_range(normalised), (pixels - 0.5) / 0.5)
    assert backbone(NetworkConfig(name="timm/test_efficientnet")).to_range(normalised) is normalised


def test_multiply_adds_are_those_that_torchvision_publishes() -> None:
    """Its figures are in thousands of millions, rounded to three places."""
    for name, weights in {
        "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
        "densenet121": torchvision.models.DenseNet121_Weights.IMAGENET1K_V1,
    }.items():
        found = multiply_adds(NetworkConfig(name=f"torchvision/{name}"), 224)
        classes = (1000 - 1) * on_meta(NetworkConfig(name=f"torchvision/{name}")).classifier.in_features
        assert (found + classes) / 1e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)


@pytest.mark.parametrize("config", [RESNET, VIT])
def test_a_network_compiles_whole_with_its_hook(config: NetworkConfig) -> None:
    network = backbone(config).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    ours, theirs = compiled(images()), network(images())
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.attention, theirs.attention)


def test_batch_norms_of_timm_keep_their_activation_when_synchronised() -> None:
    plain, network = (backbone(NetworkConfig(name="timm/test_efficientnet", image_size=64)).eval() for _ in range(2))
    synchronised(network, 2)
    kinds = {type(module).__name__ for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    assert kinds == {"SyncBatchNormAct2d"}
    with torch.no_grad():
        assert torch.equal(network(images()).logits, plain(images()).logits)


@pytest.mark.parametrize(
    ("name", "message"), [("timm/test_vit", "has no batch norm"), ("timm/levit_128s", "has a BatchNorm1d")]
)
def test_batch_norms_that_cannot_be_synchronised_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"network.sync_bn = true: the network {message}.*; leave it out"):
        synchronised(on_meta(NetworkConfig(name=name)), 1)


PARSING = """
import sys
from harness.config import from_dict, to_dict
network = {"name": "timm/no_such", "scope": "a.1+b", "tap": "c"}
config = from_dict({"data": {"dataset": "chestxray14"}, "network": network, "init": {"kind": "none"}}, where="x")
assert config.network.image_size == 256 and from_dict(to_dict(config), where="x") == config
print(config.name, [name for name in ("torch", "torchvision", "timm") if name in sys.modules])
"""


def test_parsing_a_config_looks_into_no_library() -> None:
    done = subprocess.run([sys.executable, "-c", PARSING], capture_output=True, text=True, check=True)
    assert done.stdout == "chestxray14_full_none_tl_timm-no_such_a.1+b_s0 []\n"


def test_a_network_made_for_images_that_32_does_not_divide_is_laid_out_for_others() -> None:
    assert find_tap(NetworkConfig(name="timm/inception_v4")).shape == (1536, 8, 8)  # of 299 px
    assert planes_shape(NetworkConfig(name="timm/inception_v4", image_size=256), 256) == (1536, 6, 6)
