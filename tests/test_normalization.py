from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.normalization import NORMS, make_norm


def layer_of(name: str, n_channels: int) -> nn.Module:
    (layer,) = make_norm(name, n_channels)
    return layer


def normalized(maps: Tensor, *, dims: tuple[int, ...]) -> Tensor:
    variance = maps.var(dim=dims, keepdim=True, unbiased=False)
    return (maps - maps.mean(dim=dims, keepdim=True)) / (variance + 1e-5).sqrt()


def maps_of(n_images: int, n_channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_images, n_channels, 5, 4, generator=generator) * 3.0 + 2.0


@pytest.mark.parametrize(
    ("name", "n_channels", "shape", "dims"),
    [
        ("batch", 32, (6, 32, 5, 4), (0, 2, 3)),
        ("layer", 32, (6, 32, 5, 4), (1, 2, 3)),
        ("group", 32, (6, 2, 16, 5, 4), (2, 3, 4)),
        ("group", 6, (6, 1, 6, 5, 4), (2, 3, 4)),  # fewer than sixteen are one group
        ("group", 50, (6, 2, 25, 5, 4), (2, 3, 4)),  # three groups would not be equal
        ("group", 37, (6, 1, 37, 5, 4), (2, 3, 4)),
    ],
)
def test_training_normalizes_over_the_dimensions_of_the_paper(
    name: str, n_channels: int, shape: tuple[int, ...], dims: tuple[int, ...]
) -> None:
    maps = maps_of(6, n_channels)
    expected = normalized(maps.view(shape), dims=dims).view_as(maps)
    torch.testing.assert_close(layer_of(name, n_channels)(maps), expected, rtol=1e-4, atol=1e-4)


def test_batch_normalization_evaluates_by_the_running_means_of_training() -> None:
    layer, maps = layer_of("batch", 8), maps_of(6, 8)
    assert isinstance(layer, nn.BatchNorm2d)
    for _ in range(200):
        layer(maps)
    variance = maps.var(dim=(0, 2, 3), unbiased=True)
    torch.testing.assert_close(layer.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.running_var, variance, rtol=1e-4, atol=1e-4)
    layer.eval()
    others = 5.0 * maps_of(3, 8)
    before = layer.running_mean.clone()
    evaluated = layer(others)
    expected = (others - maps.mean(dim=(0, 2, 3), keepdim=True)) / (variance.view(1, 8, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(evaluated, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(evaluated[:1], layer(others[:1]))
    assert torch.equal(layer.running_mean, before)


def test_batch_normalization_depends_on_the_batch_in_training() -> None:
    layer, maps = layer_of("batch", 8), maps_of(6, 8)
    assert not torch.allclose(layer(maps)[:2], layer(maps[:2]))


@pytest.mark.parametrize("name", ["group", "layer"])
def test_group_and_layer_normalization_know_neither_the_batch_nor_the_mode(name: str) -> None:
    layer, maps = layer_of(name, 32), maps_of(6, 32)
    trained = layer(maps)
    torch.testing.assert_close(trained[:2], layer(maps[:2]))
    torch.testing.assert_close(trained, layer.eval()(maps), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", sorted({*NORMS} - {"none"}))
def test_each_has_a_scale_and_a_shift_for_every_channel(name: str) -> None:
    assert [parameter.shape for parameter in layer_of(name, 32).parameters()] == [(32,), (32,)]


def test_none_is_nothing() -> None:
    assert make_norm("none", 32) == []


def test_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"`norm` must be one of .*Did you mean 'group'"):
        make_norm("groups", 32)
