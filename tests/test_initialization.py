from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_modules.training.initialization import SCHEMES, initialize, weight_std

BIG_LAYERS = {
    "linear": lambda: nn.Linear(160, 120),
    "conv1d": lambda: nn.Conv1d(40, 60, 7),
    "conv2d": lambda: nn.Conv2d(32, 48, 3),
    "conv3d": lambda: nn.Conv3d(16, 24, 3),
    "grouped": lambda: nn.Conv2d(64, 96, 5, groups=4),
}


def weight_of(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


@pytest.mark.parametrize("kind", BIG_LAYERS)
@given(scheme=st.sampled_from(SCHEMES), gain=st.floats(0.1, 10.0), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_weights_are_normal_with_the_schemes_std(kind: str, scheme: str, gain: float, seed: int) -> None:
    layer = BIG_LAYERS[kind]()
    initialize(layer, scheme=scheme, gain=gain, generator=torch.Generator().manual_seed(seed))
    weight = weight_of(layer)
    expected = weight_std(weight, scheme=scheme, gain=gain)
    # Six standard errors of the std and of the mean of n normal numbers.
    n = weight.numel()
    assert weight.std().item() == pytest.approx(expected, rel=6.0 / math.sqrt(2.0 * n))
    assert abs(weight.mean().item()) < 6.0 * expected / math.sqrt(n)
    # Kurtosis 3 tells the normal distribution from the uniform one (1.8).
    assert (((weight - weight.mean()) / weight.std()) ** 4).mean().item() == pytest.approx(3.0, abs=0.5)


@given(n_in=st.integers(1, 9), n_out=st.integers(1, 9), kernel=st.integers(1, 5), gain=st.floats(0.01, 100.0))
def test_std_follows_the_papers(n_in: int, n_out: int, kernel: int, gain: float) -> None:
    weight = torch.empty(n_out, n_in, kernel, kernel)
    fan_in, fan_out = n_in * kernel**2, n_out * kernel**2
    assert weight_std(weight, scheme="he", gain=gain) == pytest.approx(gain * math.sqrt(2 / fan_in))
    assert weight_std(weight, scheme="xavier", gain=gain) == pytest.approx(gain * math.sqrt(2 / (fan_in + fan_out)))
    assert weight_std(weight, scheme="normal", gain=gain) == pytest.approx(gain * 0.01)


def test_he_keeps_the_scale_of_activations_through_a_deep_relu_network() -> None:
    torch.manual_seed(0)
    deep = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(20)))
    initialize(deep, scheme="he")
    images = torch.randn(64, 256)
    ratio = deep(images).square().mean() / images.square().mean()
    assert 0.2 < ratio.item() < 5.0


def test_same_generator_state_draws_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    one, other = nn.Linear(5, 4), nn.Linear(5, 4)
    state = torch.get_rng_state()
    for layer in (one, other):
        initialize(layer, scheme="xavier", generator=torch.Generator().manual_seed(3))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_global_generator_decides_without_one_given() -> None:
    layer = nn.Linear(5, 4)
    torch.manual_seed(1)
    initialize(layer, scheme="he")
    first = layer.weight.clone()
    initialize(layer, scheme="he")
    assert not torch.equal(layer.weight, first)
    torch.manual_seed(1)
    initialize(layer, scheme="he")
    assert torch.equal(layer.weight, first)


def test_biases_become_zero_and_normalization_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2, bias=False))
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.weight, 0.7)
    initialize(network, scheme="normal")
    bias = network[0].bias
    assert isinstance(bias, torch.Tensor)
    assert bias.abs().max().item() == 0.0
    assert torch.equal(norm.weight, torch.full((8,), 0.7))


@pytest.mark.parametrize(
    ("scheme", "gain", "message"),
    [
        ("kaiming", 1.0, "`scheme` must be one of .*'he', 'xavier', 'normal'.*but got 'kaiming'"),
        ("xavir", 1.0, "Did you mean 'xavier'"),
        ("he", 0.0, "`gain`"),
        ("he", -1.0, "`gain`"),
        ("he", math.nan, "`gain`"),
        ("he", math.inf, "`gain`"),
    ],
)
def test_refuses_values_out_of_bounds_and_changes_nothing(scheme: str, gain: float, message: str) -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match=message):
        initialize(layer, scheme=scheme, gain=gain)
    assert torch.equal(layer.weight, before)
