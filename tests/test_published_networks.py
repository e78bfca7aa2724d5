from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules import AlexNet, ConvNet, ImageClassifier, LeNet, ResNet
from lightning_modules.networks.activations import ACTIVATIONS
from lightning_modules.networks.normalization import NORMS


@pytest.fixture
def weightless() -> Iterator[None]:
    """Networks and images of the real sizes that cost nothing, since they hold no numbers."""
    with torch.device("meta"):
        yield


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def features_of(net: ImageClassifier) -> nn.Module:
    return net.network.get_submodule("features")


@pytest.mark.usefixtures("weightless")
@pytest.mark.parametrize(
    ("cls", "arguments", "image_shape", "n_expected"),
    [
        (LeNet, {"in_channels": 1, "n_classes": 10}, (1, 32, 32), 61_706),
        (AlexNet, {"in_channels": 3, "n_classes": 1000}, (3, 227, 227), 60_965_224),
        (AlexNet, {"in_channels": 3, "n_classes": 1000, "variant": "torchvision"}, (3, 224, 224), 61_100_840),
        (AlexNet, {"in_channels": 3, "n_classes": 10, "variant": "cifar"}, (3, 28, 28), 1_387_786),
        (ResNet, {"in_channels": 3, "n_classes": 1000, "depth": 18}, (3, 224, 224), 11_689_512),
        (ResNet, {"in_channels": 3, "n_classes": 1000, "depth": 34}, (3, 224, 224), 21_797_672),
        (ResNet, {"in_channels": 3, "n_classes": 10, "depth": 20}, (3, 32, 32), 269_722),
        (ResNet, {"in_channels": 3, "n_classes": 10, "depth": 56}, (3, 32, 32), 853_018),
    ],
)
def test_parameters_are_as_many_as_published(
    cls: type[Any], arguments: dict[str, Any], image_shape: tuple[int, ...], n_expected: int
) -> None:
    net = cls(**arguments)
    assert n_parameters(net) == n_expected
    assert net(torch.zeros(2, *image_shape)).shape == (2, arguments["n_classes"])


@pytest.mark.usefixtures("weightless")
def test_layers_of_lenet_have_the_published_sizes() -> None:
    # LeCun et al. 1998, section II.B, but for C3, each of whose maps sees all of S2's (1,516 parameters there).
    net = LeNet(in_channels=1, n_classes=10)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [n_parameters(layer) for layer in layers] == [156, 2416, 48_120, 10_164, 850]


def map_sizes_of(net: ImageClassifier, size: int) -> list[tuple[int, int]]:
    """Return channels and side of the maps wherever one of them changes, in the order of the layers."""
    seen: list[tuple[int, int]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], maps: Tensor) -> None:
        if not seen or seen[-1] != (maps.shape[1], maps.shape[2]):
            seen.append((maps.shape[1], maps.shape[2]))

    for layer in features_of(net):  # type: ignore[attr-defined]
        layer.register_forward_hook(note)
    net(torch.zeros(2, 3, size, size))
    return seen


@pytest.mark.usefixtures("weightless")
@pytest.mark.parametrize(
    ("net_of", "size", "expected"),
    [
        (  # The lectures' walk through it.
            lambda: AlexNet(in_channels=3, n_classes=1000),
            227,
            [(96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (256, 13), (256, 6)],
        ),
        (  # Zhang et al. 2017, on crops of 28x28 pixels.
            lambda: AlexNet(in_channels=3, n_classes=10, variant="cifar"),
            28,
            [(64, 28), (64, 14), (64, 7)],
        ),
        (  # He et al. 2016, table 1.
            lambda: ResNet(in_channels=3, n_classes=1000, depth=18),
            224,
            [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)],
        ),
        (  # He et al. 2016, section 4.2.
            lambda: ResNet(in_channels=3, n_classes=10, depth=20),
            32,
            [(16, 32), (32, 16), (64, 8)],
        ),
    ],
)
def test_maps_have_the_published_sizes(net_of: Any, size: int, expected: list[tuple[int, int]]) -> None:
    assert map_sizes_of(net_of(), size) == expected


@pytest.mark.usefixtures("weightless")
@pytest.mark.parametrize("depth", [20, 34, 44])
def test_depth_is_the_number_of_layers_with_weights(depth: int) -> None:
    layers = [
        layer
        for name, layer in ResNet(in_channels=3, n_classes=10, depth=depth).named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(layers) == depth


def test_a_residual_block_adds_its_input_and_where_it_widens_every_second_pixel_and_zeros() -> None:
    torch.manual_seed(0)
    blocks = [*features_of(ResNet(in_channels=3, n_classes=10).eval())][3:]  # after convolution, norm, ReLU
    for parameter in nn.ModuleList(blocks).parameters():
        nn.init.zeros_(parameter)
    maps = torch.rand(2, 16, 6, 6)
    assert torch.equal(blocks[0](maps), maps)
    widened = blocks[3](maps)
    assert torch.equal(widened[:, :16], maps[:, :, ::2, ::2])
    assert widened.shape == (2, 32, 3, 3)
    assert not widened[:, 16:].any()


def test_lenet_pads_smaller_images_with_zeros_around_and_refuses_larger_ones() -> None:
    torch.manual_seed(0)
    net = LeNet(in_channels=1, n_classes=10).eval()
    images = torch.randn(2, 1, 28, 25)
    padded = torch.zeros(2, 1, 32, 32)
    padded[:, :, 2:30, 3:28] = images
    assert torch.equal(net(images), net(padded))
    with pytest.raises(ValueError, match="LeNet takes images of at most 32x32 pixels, but got 30x33"):
        net(torch.randn(2, 1, 30, 33))


@pytest.mark.usefixtures("weightless")
def test_alexnet_averages_maps_of_other_images_and_refuses_those_that_vanish() -> None:
    assert AlexNet(in_channels=3, n_classes=10, variant="cifar")(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    large = AlexNet(in_channels=3, n_classes=10)
    assert large(torch.zeros(2, 3, 300, 256)).shape == (2, 10)
    message = (
        "images of 32x32 pixels vanish in convolution 2|vanish in the pooling after convolution 2: its maps of 2x2"
    )
    with pytest.raises(ValueError, match=message):
        large(torch.zeros(2, 3, 32, 32))


@pytest.mark.usefixtures("weightless")
@pytest.mark.parametrize(
    ("cls", "arguments", "size"),
    [(ConvNet, {}, 9), (LeNet, {}, 28), (AlexNet, {"variant": "cifar"}, 32), (ResNet, {}, 9)],
)
@pytest.mark.parametrize(("activation", "norm"), [*zip(ACTIVATIONS, itertools.cycle(NORMS), strict=False)])
def test_networks_take_every_activation_and_norm(
    cls: type[Any], arguments: dict[str, Any], size: int, activation: str, norm: str
) -> None:
    arguments = {"in_channels": 2, "n_classes": 7, "activation": activation, "norm": norm, **arguments}
    if cls is ResNet and activation == "maxout":
        with pytest.raises(ValueError, match=r"`activation` must be one of .*but got 'maxout'"):
            cls(**arguments)
        return
    net = cls(**arguments)
    assert net(torch.zeros(2, 2, size, size)).shape == (2, 7)
    assert net.network.activation == activation
    assert isinstance(net.network.features, nn.Module)
    head = [layer for layer in net.network.classifier.modules() if isinstance(layer, nn.Linear)][-1]
    assert head.out_features == 7


@pytest.mark.parametrize("cls", [LeNet, ResNet])
def test_a_training_step_reaches_every_parameter(cls: type[Any]) -> None:
    torch.manual_seed(0)
    net = cls(in_channels=1, n_classes=3, dropout=0.1)
    loss = nn.functional.cross_entropy(net(torch.randn(4, 1, 16, 16)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in net.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet(in_channels=0, n_classes=10), "`in_channels` must be an integer >= 1, but got 0"),
        (lambda: LeNet(in_channels=1, n_classes=10, pooling="none"), "`pooling` must be one of"),
        (lambda: LeNet(in_channels=1, n_classes=10, drop_connect=1.0), "`drop_connect`"),
        (lambda: AlexNet(in_channels=3, n_classes=1), "`n_classes` must be an integer >= 2, but got 1"),
        (lambda: AlexNet(in_channels=3, n_classes=10, variant="cifar10"), "`variant` .*Did you mean 'cifar'"),
        (lambda: AlexNet(in_channels=3, n_classes=10, dropout=1.5), "`dropout`"),
        (lambda: ResNet(in_channels=3, n_classes=10, depth=19), r"`depth` must be one of \[18, 20, .*but got 19"),
        (lambda: ResNet(in_channels=3, n_classes=10, norm="batchnorm"), "`norm` .*Did you mean 'batch'"),
    ],
)
def test_refuses_arguments_out_of_bounds(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
