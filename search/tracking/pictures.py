"""Pictures of what a model has learnt to see, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_COLUMNS = 8
_TILE_PIXELS, _GAP_PIXELS = 112, 8
_GAP_COLOUR = (0.55, 0.68, 0.85)  # none that a grey picture has
_DPI = 120
_MOST_NUMBERS = 12  # classes up to which a confusion matrix is written out


def pictures_of(seen: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw what there is.

    Args:
        seen: The fields of `search.messages.Views`, and ``confusion``, counts ``(n_classes, n_classes)``.

    Returns:
        Contents by file name: ``filters.png``, ``feature_maps_<layer>.png``, ``saliency.png``, ``confusion.png``; those
        of which `seen` has nothing are left out.
    """
    drawn: dict[str, bytes] = {}
    if len(seen["filters"]):
        drawn["filters"] = _tiles([_picture(np.asarray(each)) for each in seen["filters"]])
    for layer, maps in seen["maps"].items():
        drawn[f"feature_maps_{layer}"] = _tiles(list(np.asarray(maps)))
    if len(seen["images"]):
        drawn["saliency"] = _saliency(seen)
    if len(seen["confusion"]):
        drawn["confusion"] = _confusion(np.asarray(seen["confusion"]))
    return {f"{name}.png": content for name, content in drawn.items()}


def _picture(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(C, H, W)`` as ``(H, W, 3)`` if there are three channels, else the channels' mean ``(H, W)``."""
    return np.moveaxis(channels, 0, -1) if len(channels) == 3 else np.asarray(channels.mean(axis=0))


def _mosaic(pictures: Sequence[NDArray[np.float64]], *, n_columns: int) -> NDArray[np.float64]:
    """Put pictures of one size ``(H, W)`` or ``(H, W, 3)`` side by side, each from its own black to its own white.

    Returns:
        Red, green and blue ``(height, width, 3)`` in ``[0, 1]``.
    """
    scale = max(1, round(_TILE_PIXELS / max(pictures[0].shape[:2])))
    rows = [pictures[start : start + n_columns] for start in range(0, len(pictures), n_columns)]
    height, width = (scale * length + _GAP_PIXELS for length in pictures[0].shape[:2])
    size = (len(rows) * height - _GAP_PIXELS, min(n_columns, len(pictures)) * width - _GAP_PIXELS)
    canvas = np.tile(np.array(_GAP_COLOUR), (*size, 1))
    for top, row in enumerate(rows):
        for left, picture in enumerate(row):
            tile = _on_its_own_scale(picture).repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[top * height :, left * width :][: tile.shape[0], : tile.shape[1]] = tile
    return canvas


def _on_its_own_scale(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = picture.min(), picture.max()
    shown = (picture - low) / max(high - low, 1e-30)
    return shown if picture.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def _tiles(pictures: Sequence[NDArray[np.float64]]) -> bytes:
    from matplotlib.image import imsave

    content = io.BytesIO()
    imsave(content, _mosaic(pictures, n_columns=_N_COLUMNS), format="png")
    return content.getvalue()


def _saliency(seen: Mapping[str, Any]) -> bytes:
    images = [_picture(np.asarray(each)) for each in seen["images"]]
    maps = [np.asarray(each) for each in seen["saliency"]]
    canvas = _mosaic([*images, *maps], n_columns=len(images))
    height, width = canvas.shape[:2]
    figure = _figure(width=width / _DPI, height=(height + 4 * _GAP_PIXELS) / _DPI)
    axes = figure.add_subplot()
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    for index, (label, predicted) in enumerate(zip(seen["labels"], seen["predicted"], strict=True)):
        middle = (index + 0.5) * (width + _GAP_PIXELS) / len(images) - 0.5 * _GAP_PIXELS
        axes.text(middle, -_GAP_PIXELS, f"{label}, taken for {predicted}", ha="center", fontsize=7)
    return _png(figure)


def _figure(*, width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _confusion(counts: NDArray[np.int64]) -> bytes:
    n = len(counts)
    inches = max(3.5, 0.4 * min(n, 30))
    figure = _figure(width=inches, height=inches)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    if n <= _MOST_NUMBERS:
        axes.set_xticks(range(n))
        axes.set_yticks(range(n))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
