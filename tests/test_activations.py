from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lightning_modules.networks.activations import ACTIVATIONS, ActivationSettings, Maxout

FORMULAS: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": lambda x: 1 - 2 / (math.exp(2 * x) + 1),
    "relu": lambda x: max(0.0, x),
    "leaky_relu": lambda x: max(0.01 * x, x),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_functions_are_those_of_their_papers(name: str) -> None:
    inputs = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)
    settings = ActivationSettings(name=name)
    expected = torch.tensor([FORMULAS[name](x) for x in inputs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(settings.make()(inputs), expected)
    assert settings.n_inputs_per_output == 1


def test_every_name_is_tested() -> None:
    assert set(ACTIVATIONS) == {*FORMULAS, "maxout"}


@pytest.mark.parametrize("positions", [(), (2, 5)])
@pytest.mark.parametrize("n_pieces", [2, 3])
def test_maxout_takes_the_largest_of_neighbouring_channels(positions: tuple[int, ...], n_pieces: int) -> None:
    settings = ActivationSettings(name="maxout", maxout_pieces=n_pieces)
    assert settings.n_inputs_per_output == n_pieces
    inputs = torch.randn(4, 3 * n_pieces, *positions)
    if positions:
        inputs = inputs.to(memory_format=torch.channels_last)
    made = settings.make()(inputs)
    expected = [inputs[:, c * n_pieces : (c + 1) * n_pieces].max(dim=1).values for c in range(3)]
    assert torch.equal(made, torch.stack(expected, dim=1))


def test_maxout_of_opposite_linear_functions_is_the_absolute_value() -> None:
    layer = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    inputs = torch.tensor([[-3.0], [0.5], [2.0]])
    assert torch.equal(nn.Sequential(layer, Maxout(n_pieces=2))(inputs), inputs.abs())


def test_maxout_passes_the_gradient_to_the_largest_piece_only() -> None:
    inputs = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Maxout(n_pieces=4), (inputs,))
    Maxout(n_pieces=4)(inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad.sum(dim=1), torch.full((6,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "relo"}, "`activation` must be one of .*Did you mean 'relu'"),
        ({"name": "maxout", "maxout_pieces": 1}, "`maxout_pieces` must be an integer >= 2, but got 1"),
    ],
)
def test_refuses_what_it_does_not_know(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActivationSettings(**changed)  # type: ignore[arg-type]
