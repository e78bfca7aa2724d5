from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_modules import AlexNet
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.training.activation_gain import ACTIVATIONS, squared_gain
from lightning_modules.training.initialization import DISTRIBUTIONS, FAN_MODES, initialize, weight_std

GAUSSIAN_SCHEMES = ("he", "xavier", "normal", "lecun")

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
@given(scheme=st.sampled_from(GAUSSIAN_SCHEMES), gain=st.floats(0.1, 10.0), seed=st.integers(0, 2**32))
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
    expected = {
        "he": math.sqrt(2 / fan_in),
        "xavier": math.sqrt(2) * math.sqrt(2 / (fan_in + fan_out)),
        "lecun": math.sqrt(1 / fan_in),
        "normal": 0.01,
        "zeros": 0.0,
    }
    for scheme, std in expected.items():
        assert weight_std(weight, scheme=scheme, gain=gain) == pytest.approx(gain * std)
    assert weight_std(weight, scheme="he", fan_mode="fan_out") == pytest.approx(math.sqrt(2 / fan_out))
    assert weight_std(weight, scheme="lecun", fan_mode="fan_out") == pytest.approx(math.sqrt(1 / fan_out))
    linear = weight_std(weight, scheme="xavier", activation="linear")
    assert linear == pytest.approx(math.sqrt(2 / (fan_in + fan_out)))


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_those_of_torch_and_count_once(activation: Any) -> None:
    gain = nn.init.calculate_gain(activation)
    assert math.sqrt(squared_gain(activation)) == pytest.approx(gain)
    weight = torch.empty(40, 30, 3, 3)
    for mode in FAN_MODES:
        torch.manual_seed(0)
        drawn = nn.init.kaiming_normal_(weight.clone(), a=0.01, mode=mode, nonlinearity=activation)
        torch.manual_seed(0)
        layer = nn.Conv2d(30, 40, 3)
        torch.manual_seed(0)
        initialize(layer, scheme="he", fan_mode=mode, activation=activation)
        torch.testing.assert_close(layer.weight.detach(), drawn)
    torch.manual_seed(0)
    drawn = nn.init.xavier_uniform_(weight.clone(), gain=gain)
    torch.manual_seed(0)
    initialize(layer, scheme="xavier", distribution="uniform", activation=activation)
    torch.testing.assert_close(layer.weight.detach(), drawn)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", torch.relu),
        ("leaky_relu", nn.functional.leaky_relu),
        ("elu", nn.functional.elu),
        ("gelu", nn.functional.gelu),
        ("silu", nn.functional.silu),
        ("maxout", None),
    ],
)
def test_gain_keeps_the_mean_square_of_a_normal_signal(
    activation: str, function: Callable[[torch.Tensor], torch.Tensor] | None
) -> None:
    z = torch.linspace(-12.0, 12.0, 24_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    if function is None:  # the larger of two: their cumulative distributions multiply
        square = (z**2 * 2.0 * density * torch.special.ndtr(z)).sum() * 1e-3
    else:
        square = (function(z) ** 2 * density).sum() * 1e-3
    assert squared_gain(activation) * square.item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("n_pieces", [2, 3, 5])
def test_maxout_keeps_the_mean_square_whatever_the_number_of_pieces(n_pieces: int) -> None:
    torch.manual_seed(0)
    args: dict[str, Any] = {"activation": "maxout", "maxout_pieces": n_pieces, "dropout": 0.0}
    net = AlexNet(in_channels=3, n_classes=10, variant="cifar", init_scheme="he", **args)
    hidden = nn.Sequential(*net.network.classifier[:2])
    with torch.no_grad():
        signal = hidden(torch.randn(200, 64 * 7**2))
    assert signal.square().mean().item() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("scheme", ["he", "xavier", "lecun"])
def test_uniform_has_the_same_std_within_sqrt_3_of_it(scheme: str) -> None:
    layer = nn.Linear(300, 200)
    initialize(layer, scheme=scheme, gain=0.5, distribution="uniform", generator=torch.Generator().manual_seed(0))
    weight = weight_of(layer)
    expected = weight_std(weight, scheme=scheme, gain=0.5)
    assert weight.std().item() == pytest.approx(expected, rel=0.01)
    assert weight.abs().max().item() == pytest.approx(math.sqrt(3.0) * expected, rel=0.001)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_orthogonal_keeps_lengths_but_for_the_gain(shape: tuple[int, int], activation: str) -> None:
    layer = nn.Linear(shape[1], shape[0])
    initialize(layer, scheme="orthogonal", gain=0.7, activation=activation, generator=torch.Generator().manual_seed(0))
    weight = weight_of(layer)
    short = weight if shape[0] <= shape[1] else weight.T
    expected = 0.49 * squared_gain(activation)
    torch.testing.assert_close(short @ short.T, expected * torch.eye(min(shape)), atol=1e-5, rtol=0.0)
    rms = weight.square().mean().sqrt().item()
    assert rms == pytest.approx(weight_std(weight, scheme="orthogonal", gain=0.7, activation=activation), rel=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_zeros_are_zeros_and_small_normal_numbers_normal(distribution: str) -> None:
    layer = nn.Linear(100, 100)
    initialize(layer, scheme="zeros", gain=3.0, distribution=distribution)
    assert not weight_of(layer).any()
    initialize(layer, scheme="normal", distribution=distribution)
    assert weight_of(layer).abs().max().item() > 3 * 0.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lecun_and_normal_do_not_go_by_the_activation(activation: str) -> None:
    weight = torch.empty(7, 5)
    for scheme in ("lecun", "normal"):
        assert weight_std(weight, scheme=scheme, activation=activation) == weight_std(weight, scheme=scheme)


@pytest.mark.parametrize(
    ("activation", "expected"), [("tanh", 25.0 / 9.0), (None, 2.0), (nn.Tanh(), 2.0), ("linear", 1.0)]
)
def test_classifier_takes_the_activation_that_its_network_names(activation: Any, expected: float) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(400, 100)
            if activation is not None:
                self.activation = activation

    network = Network()
    ImageClassifier(network, init_scheme="orthogonal")
    scale = weight_of(network.classifier).square().sum(dim=1).mean().item()
    assert scale == pytest.approx(expected, rel=1e-4)


def test_classifier_passes_all_choices_on() -> None:
    network = nn.Sequential(nn.Linear(50, 400))
    ImageClassifier(network, init_scheme="lecun", init_fan_mode="fan_out", init_distribution="uniform", init_gain=2.0)
    assert weight_of(network[0]).abs().max().item() == pytest.approx(2.0 * math.sqrt(3.0 / 400.0), rel=0.01)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fan_mode": "fan_avg"}, "`init_fan_mode` must be one of .* but got 'fan_avg'"),
        ({"distribution": "uniforn"}, "`init_distribution` must be one of .*Did you mean 'uniform'"),
        ({"activation": "mish"}, "`activation` must be one of .* but got 'mish'"),
    ],
)
def test_refuses_unknown_names_and_changes_nothing(changed: dict[str, str], message: str) -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match=message):
        initialize(layer, scheme="he", **changed)
    assert torch.equal(layer.weight, before)


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
        ("kaiming", 1.0, "`init_scheme` must be one of .*'he', 'xavier', 'normal'.*but got 'kaiming'"),
        ("xavir", 1.0, "Did you mean 'xavier'"),
        ("he", 0.0, "`init_gain`"),
        ("he", -1.0, "`init_gain`"),
        ("he", math.nan, "`init_gain`"),
        ("he", math.inf, "`init_gain`"),
    ],
)
def test_refuses_values_out_of_bounds_and_changes_nothing(scheme: str, gain: float, message: str) -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match=message):
        initialize(layer, scheme=scheme, gain=gain)
    assert torch.equal(layer.weight, before)
