from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_modules.networks.map_sizes import Window, map_sizes


def made_by_torch(window: Window, size: tuple[int, int], *, pools: bool) -> tuple[int, int] | None:
    """Return what torch makes of maps of that size, None if it refuses them."""
    layer: nn.Module
    if pools:
        layer = nn.MaxPool2d(window.kernel_size, window.stride, window.padding, ceil_mode=window.rounds_up)
    else:
        layer = nn.Conv2d(1, 1, window.kernel_size, window.stride, window.padding)
    try:
        made = layer(torch.zeros(1, 1, *size))
    except RuntimeError as error:
        assert "size" in str(error)
        return None
    return (made.shape[2], made.shape[3])


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 6),
    padding=st.integers(0, 4),
    pools=st.booleans(),
    rounds_up=st.booleans(),
)
def test_sizes_are_those_of_torch_and_what_torch_refuses_is_refused(
    size: tuple[int, int], kernel_size: int, stride: int, padding: int, pools: bool, rounds_up: bool
) -> None:
    # Torch's poolings take no more padding than half of the window, its convolutions leave out what sticks out.
    window = Window(
        layer="a layer",
        kernel_size=kernel_size,
        stride=stride,
        padding=min(padding, kernel_size // 2) if pools else padding,
        rounds_up=rounds_up and pools,
    )
    expected = made_by_torch(window, size, pools=pools)
    if expected is None:
        with pytest.raises(ValueError, match="vanish in a layer"):
            map_sizes(size, [window], remedy="another")
    else:
        assert map_sizes(size, [window], remedy="another") == (expected,)


def test_sizes_follow_from_layer_to_layer() -> None:
    # CS231n's walk through AlexNet: 227 -> 55 -> 27 -> 27 -> 13.
    windows = [
        Window(layer="conv1", kernel_size=11, stride=4),
        Window(layer="pool1", kernel_size=3, stride=2),
        Window(layer="conv2", kernel_size=5, padding=2),
        Window(layer="pool2", kernel_size=3, stride=2),
    ]
    assert map_sizes((227, 227), windows, remedy="") == ((55, 55), (27, 27), (27, 27), (13, 13))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((4, 9), r"images of 4x9 pixels vanish in second: its maps of 2x7 would become .H \+ 2P - F./S \+ 1 = "),
        (
            (9, 4),
            r"its maps of 7x2 .*.W \+ 2P - F./S \+ 1 = .2 \+ 2\*0 - 3./1 \+ 1 = 0. Take a smaller `kernel_size`\.",
        ),
    ],
)
def test_error_says_which_layer_which_size_and_what_to_change(size: tuple[int, int], message: str) -> None:
    windows = [Window(layer=name, kernel_size=3) for name in ("first", "second")]
    with pytest.raises(ValueError, match=message):
        map_sizes(size, windows, remedy="a smaller `kernel_size`")
