from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_modules.conv_net import ConvNet
from lightning_modules.networks.activations import ACTIVATIONS
from lightning_modules.networks.conv_block import POOLINGS
from lightning_modules.networks.drop_connect import DropConnectLinear
from lightning_modules.networks.normalization import NORMS


def make_net(**changed: Any) -> ConvNet:
    return ConvNet(**({"in_channels": 2, "n_classes": 3, "widths": (4, 6)} | changed))


def maps_of(net: ConvNet, size: tuple[int, int]) -> torch.Tensor:
    features = net.network.features
    assert isinstance(features, nn.Module)
    maps: torch.Tensor = features(torch.randn(2, 2, *size))
    return maps


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 4),
    pool_size=st.integers(1, 4),
    pooling=st.sampled_from(POOLINGS),
    norm=st.sampled_from(NORMS),
    activation=st.sampled_from(ACTIVATIONS),
    hidden_width=st.sampled_from([0, 5]),
    maxout_pieces=st.integers(2, 3),
)
@settings(max_examples=25)
def test_with_default_padding_images_of_any_size_become_logits(size: tuple[int, int], **arguments: Any) -> None:
    net = make_net(**arguments, image_size=list(size)).eval()
    assert net(torch.randn(2, 2, *size)).shape == (2, 3)
    assert net.network.activation == arguments["activation"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (3, 2)),  # 9x8 -> 5x4 -> 3x2
        ({"pooling": "none"}, (9, 8)),
        ({"pooling": "none", "padding": 0}, (5, 4)),
        ({"pooling": "none", "kernel_size": 5}, (9, 8)),
        ({"pooling": "none", "stride": 2}, (3, 2)),
        ({"pooling": "avg", "pool_size": 3}, (1, 1)),
        ({"pooling": "none", "padding": 3}, (17, 16)),
    ],
)
def test_sizes_of_the_maps_follow_the_arguments(arguments: dict[str, Any], expected: tuple[int, int]) -> None:
    assert maps_of(make_net(**arguments), (9, 8)).shape == (2, 6, *expected)


@pytest.mark.parametrize(
    ("arguments", "size", "layer"),
    [
        ({"padding": 0}, (5, 5), "the convolution of block 2: its maps of 2x2"),
        ({"padding": 0, "pooling": "none"}, (9, 4), "the convolution of block 2: its maps of 7x2"),
        ({"padding": 1, "kernel_size": 7}, (4, 9), "the convolution of block 1: its maps of 4x9"),
    ],
)
def test_maps_that_would_vanish_are_refused_at_once_or_at_the_first_images(
    arguments: dict[str, Any], size: tuple[int, int], layer: str
) -> None:
    message = f"images of {size[0]}x{size[1]} pixels vanish in {layer}.*Take larger images, a larger `padding`"
    with pytest.raises(ValueError, match=message):
        make_net(**arguments, image_size=list(size))
    net = make_net(**arguments)
    with pytest.raises(ValueError, match=message):
        net(torch.randn(2, 2, *size))
    assert net(torch.randn(2, 2, 24, 24)).shape == (2, 3)


def test_one_number_is_the_size_of_square_images() -> None:
    make_net(padding=0, image_size=8)
    with pytest.raises(ValueError, match="images of 5x5 pixels"):
        make_net(padding=0, image_size=5)


def test_average_pooling_averages_the_pixels_that_there_are() -> None:
    net = make_net(widths=[1], pooling="avg", norm="none", kernel_size=1)
    conv = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        conv.weight.fill_(1.0)
    images = torch.arange(18.0).view(1, 2, 3, 3)
    summed = images.sum(dim=1)[0]
    expected = torch.stack([summed[:2, :2].mean(), summed[:2, 2].mean(), summed[2, :2].mean(), summed[2, 2]])
    features = net.network.features
    assert isinstance(features, nn.Module)
    torch.testing.assert_close(features(images).flatten(), expected)


def test_widths_may_be_a_text_which_a_choice_can_hold() -> None:
    first, second = (
        [tuple(parameter.shape) for parameter in make_net(widths=widths).parameters()] for widths in ("4-6", [4, 6])
    )
    assert first == second


def test_spatial_dropout_drops_whole_maps_in_training_only() -> None:
    torch.manual_seed(0)
    net = make_net(widths=[64], norm="none", spatial_dropout=0.5, pooling="none", activation="sigmoid")
    maps = maps_of(net, (5, 5))
    is_dropped = (maps == 0.0).flatten(2)
    assert torch.equal(is_dropped.any(dim=2), is_dropped.all(dim=2))
    assert 0.3 < is_dropped.double().mean().item() < 0.7
    images = torch.randn(2, 2, 5, 5)
    features = net.eval().network.features
    assert isinstance(features, nn.Module)
    whole = features(images)
    assert bool((whole > 0.0).all())
    # Inverted: what is kept is scaled up in training, so that evaluation need not scale down.
    dropped = features.train()(images)
    torch.testing.assert_close(dropped[dropped > 0.0], 2.0 * whole[dropped > 0.0])


def test_inverted_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    dropout = make_net(dropout=0.8).network.get_submodule("classifier.0")
    units = torch.ones(20_000)
    dropped = dropout(units)
    assert dropped.unique().tolist() == pytest.approx([0.0, 5.0])
    assert dropped.mean().item() == pytest.approx(1.0, abs=6 * (0.8 / 0.2 / 20_000) ** 0.5)
    assert torch.equal(dropout.eval()(units), units)


@pytest.mark.parametrize(("hidden_width", "expected"), [(5, [(5, 6)]), (0, [(3, 6)])])
def test_drop_connect_is_on_the_hidden_layer_or_else_on_the_only_one(
    hidden_width: int, expected: list[tuple[int, int]]
) -> None:
    net = make_net(drop_connect=0.5, hidden_width=hidden_width, dropout=0.0, norm="none")
    dropping = [layer for layer in net.modules() if isinstance(layer, DropConnectLinear)]
    assert [tuple(layer.weight.shape) for layer in dropping] == expected
    images = torch.randn(1, 2, 8, 8).expand(9, -1, -1, -1)
    assert len(torch.unique(net(images), dim=0)) > 1
    evaluated = net.eval()(images)
    torch.testing.assert_close(evaluated, evaluated[:1].expand_as(evaluated))


def test_maxout_widens_what_comes_before_it_only() -> None:
    net = make_net(activation="maxout", maxout_pieces=3, hidden_width=5)
    shapes = [tuple(parameter.shape) for parameter in net.parameters() if parameter.ndim > 1]
    assert shapes == [(12, 2, 3, 3), (18, 4, 3, 3), (15, 6), (3, 5)]


@pytest.mark.parametrize("norm", NORMS)
def test_only_a_convolution_without_normalization_has_a_bias(norm: str) -> None:
    convolutions = [layer for layer in make_net(norm=norm).modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.bias is not None for layer in convolutions] == [norm == "none"] * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel_size": 0}, "`kernel_size` must be an integer >= 1, but got 0"),
        ({"stride": 0}, "`stride`"),
        ({"padding": -1}, "`padding` must be an integer >= 0, but got -1"),
        ({"pooling": "mean"}, "`pooling` must be one of .*but got 'mean'"),
        ({"pool_size": 1.5}, "`pool_size`"),
        ({"activation": "rely"}, "`activation` must be one of .*Did you mean 'relu'"),
        ({"spatial_dropout": 1.0}, r"`spatial_dropout` must be a number in \[0, 1\)"),
        ({"drop_connect": -0.1}, r"`drop_connect` must be a number in \[0, 1\)"),
        ({"image_size": [8]}, r"`image_size` must be an integer or a list \[height, width\], but got \[8\]"),
        ({"image_size": 0}, "`image_size` must be an integer >= 1, but got 0"),
        ({"widths": "4-0"}, "`widths` must be an integer >= 1, but got 0"),
        ({"widths": "4-"}, "`widths` must be a list"),
    ],
)
def test_refuses_arguments_out_of_bounds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net(**changed)
