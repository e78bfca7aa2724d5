from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_modules.conv_net import ConvNet
from lightning_modules.inside.feature_maps import feature_maps
from lightning_modules.inside.filters import first_layer_filters
from lightning_modules.inside.saliency import saliency


@pytest.fixture
def net() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(in_channels=3, n_classes=4, widths=(5, 7), dropout=0.5).train()


def test_filters_are_the_first_convolutions(net: ConvNet) -> None:
    filters = first_layer_filters(net)
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    assert filters is not None
    assert filters.shape == (5, 3, 3, 3)
    assert torch.equal(filters, first.weight)
    filters.zero_()
    assert first.weight.abs().min() > 0.0
    assert first_layer_filters(nn.Linear(3, 2)) is None


def test_maps_are_what_the_layers_give_in_evaluation_and_leave_the_network_as_it_was(net: ConvNet) -> None:
    images = torch.randn(2, 3, 8, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    maps = feature_maps(net, images)
    assert [value.shape for value in maps.values()] == [(2, 5, 8, 8), (2, 7, 4, 4)]
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    torch.testing.assert_close(next(iter(maps.values())), first(images).detach())
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(not layer._forward_hooks for layer in net.modules())
    assert feature_maps(nn.Flatten(), images) == {}


def test_a_linear_score_depends_on_its_pixels_by_the_weights() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 3, 4))
    weight = linear[1].weight
    assert isinstance(weight, torch.Tensor)
    labels = torch.tensor([1, 3])
    found = saliency(linear, torch.randn(2, 2, 3, 3), labels)
    expected = weight.detach()[labels].reshape(2, 2, 3, 3).abs().amax(dim=1)
    torch.testing.assert_close(found, expected)
    assert weight.grad is None


def test_saliency_needs_no_gradient_mode_and_leaves_the_mode(net: ConvNet) -> None:
    with torch.no_grad():
        found = saliency(net, torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))
    assert found.shape == (2, 8, 8)
    assert (found >= 0.0).all()
    assert net.training


def test_parts_that_are_frozen_in_eval_mode_stay_so(net: ConvNet) -> None:
    frozen = next(layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)).eval()
    feature_maps(net, torch.randn(2, 3, 8, 8))
    assert (frozen.training, net.training) == (False, True)
    saliency(net, torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))
    assert (frozen.training, net.training) == (False, True)


def test_saliency_refuses_what_gives_no_scores() -> None:
    with pytest.raises(ValueError, match=r"\(N, n_classes\), but got \(2, 3, 8, 8\)"):
        saliency(nn.Identity(), torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))
