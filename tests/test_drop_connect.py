from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.drop_connect import DropConnectLinear


@pytest.fixture
def layer() -> DropConnectLinear:
    torch.manual_seed(0)
    return DropConnectLinear(5, 4, p=0.25).double()


def test_evaluation_drops_nothing(layer: DropConnectLinear) -> None:
    inputs = torch.randn(7, 5, dtype=torch.float64)
    layer.eval()
    assert torch.equal(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))


def dropped_weights_and_biases(layer: DropConnectLinear, n: int) -> tuple[Tensor, Tensor]:
    """Return, of `n` images, what the layer multiplied (n_images, n_out, n_in) and added (n_images, n_out)."""
    # The same seed draws the same masks: without an input the biases are left, with one unit of it a column of weights.
    with torch.no_grad():
        torch.manual_seed(1)
        biases = layer(torch.zeros(n, 5, dtype=torch.float64))
        columns = []
        for column in range(5):
            torch.manual_seed(1)
            columns.append(layer(torch.eye(5, dtype=torch.float64)[column].expand(n, -1)) - biases)
    return torch.stack(columns, dim=2), biases


def test_training_drops_weights_and_biases_of_each_image_anew_and_scales_the_others(layer: DropConnectLinear) -> None:
    n = 4000
    weights, biases = dropped_weights_and_biases(layer, n)
    for given, used in ((layer.weight, weights), (layer.bias, biases)):
        ratio = (used / given).detach()
        is_kept = ratio.abs() > 1e-6
        torch.testing.assert_close(ratio[is_kept], torch.full_like(ratio[is_kept], 1 / 0.75))
        # Each weight is dropped in a quarter of the images: within six standard errors.
        share = is_kept.double().mean(dim=0)
        torch.testing.assert_close(share, torch.full_like(share, 0.75), rtol=0.0, atol=6 * (0.75 * 0.25 / n) ** 0.5)
    masks = (weights / layer.weight).abs() > 1e-6
    assert len(torch.unique(masks.flatten(1), dim=0)) > n / 2
    # Independent: of two weights, both are kept as often as the product says.
    both = (masks[:, 0, 0] & masks[:, 3, 2]).double().mean().item()
    assert both == pytest.approx(0.75**2, abs=0.04)


def test_gradients_are_those_of_the_masked_weights(layer: DropConnectLinear) -> None:
    inputs = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def trained(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        torch.manual_seed(2)
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (images,))

    parameters = [parameter.detach().clone().requires_grad_() for parameter in (layer.weight, layer.bias)]
    assert torch.autograd.gradcheck(trained, (inputs, *parameters))


def test_no_chance_of_dropping_is_a_linear_layer() -> None:
    layer, inputs = DropConnectLinear(5, 4, p=0.0), torch.randn(7, 5)
    assert torch.equal(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))


def test_runs_in_mixed_precision(layer: DropConnectLinear) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer.float()(torch.randn(3, 5))
    assert made.dtype == torch.bfloat16
    made.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
