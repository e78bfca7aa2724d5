"""How large the maps are that a network makes of an image: (H + 2P - F)/S + 1, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_modules.arguments import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a convolution or a pooling slides over its maps, the same along both axes.

    Attributes:
        layer: What an error calls the layer, such as ``the convolution of block 2``.
        kernel_size: Side of the window (F) in pixels, >= 1.
        stride: From one window to the next (S) in pixels, >= 1.
        padding: Added at each edge (P) in pixels, >= 0.
        rounds_up: Whether a last window that sticks out counts, as in torch's ``ceil_mode``; else it is left out.
    """

    layer: str
    kernel_size: int
    stride: int = 1
    padding: int = 0
    rounds_up: bool = False

    def n_positions(self, size: int) -> int:
        """Return how many places there are for the window along an axis of `size` pixels; none if it is <= 0.

        Source:
            CS231n, "Convolutional Neural Networks", section "Spatial arrangement"; the documentation of
            ``torch.nn.MaxPool2d`` for ``ceil_mode``.
        """
        span = size + 2 * self.padding - self.kernel_size
        n = (span + (self.stride - 1 if self.rounds_up else 0)) // self.stride + 1
        begins_outside = (n - 1) * self.stride >= size + self.padding
        return n - 1 if self.rounds_up and begins_outside else n


def map_sizes(image_size: tuple[int, int], windows: Iterable[Window], *, remedy: str) -> tuple[tuple[int, int], ...]:
    """Return the height and width of each layer's maps, in pixels.

    Args:
        image_size: Height and width of the images, in pixels.
        windows: Of the layers, in their order.
        remedy: What to change where a map would vanish, as the end of a sentence that begins with "Take".

    Raises:
        ValueError: If a layer's maps would have no pixel.
    """
    sizes = [image_size]
    for window in windows:
        heights_and_widths = sizes[-1]
        size = (window.n_positions(heights_and_widths[0]), window.n_positions(heights_and_widths[1]))
        if min(size) < 1:
            axis = 0 if size[0] < 1 else 1
            name, before = "HW"[axis], heights_and_widths[axis]
            raise ArgumentError(
                f"(H + 2P - F)/S + 1 must be >= 1 in every layer, but images of {_shown(image_size)} pixels vanish in "
                f"{window.layer}: its maps of {_shown(heights_and_widths)} would become ({name} + 2P - F)/S + 1 = "
                f"({before} + 2*{window.padding} - {window.kernel_size})/{window.stride} + 1 = {size[axis]}. "
                f"Take {remedy}."
            )
        sizes.append(size)
    return tuple(sizes[1:])


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
