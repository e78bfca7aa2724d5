"""Pictures of what a model has learnt to see, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_COLUMNS = 8
_INCHES = 1.1  # of a small picture
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
    drawn: dict[str, Figure] = {}
    if len(seen["filters"]):
        drawn["filters"] = _tiles([_picture(np.asarray(each)) for each in seen["filters"]])
    for layer, maps in seen["maps"].items():
        drawn[f"feature_maps_{layer}"] = _tiles(list(np.asarray(maps)))
    if len(seen["images"]):
        drawn["saliency"] = _saliency(seen)
    if len(seen["confusion"]):
        drawn["confusion"] = _confusion(np.asarray(seen["confusion"]))
    return {f"{name}.png": _png(figure) for name, figure in drawn.items()}


def _picture(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(C, H, W)`` as ``(H, W, 3)`` in ``[0, 1]`` if there are three channels, else the channels' mean."""
    if len(channels) != 3:
        return np.asarray(channels.mean(axis=0))
    low, high = channels.min(), channels.max()
    return np.moveaxis((channels - low) / max(high - low, 1e-30), 0, -1)


def _figure(n_rows: int, n_columns: int, *, inches: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(inches * n_columns, inches * n_rows), dpi=_DPI, layout="constrained")


def _show(axes: Axes, picture: NDArray[np.float64], title: str = "") -> None:
    axes.imshow(picture, cmap=None if picture.ndim == 3 else "gray", interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=7)


def _tiles(pictures: Sequence[NDArray[np.float64]]) -> Figure:
    n_rows = -(-len(pictures) // _N_COLUMNS)
    figure = _figure(n_rows, _N_COLUMNS, inches=_INCHES)
    for index, picture in enumerate(pictures):
        _show(figure.add_subplot(n_rows, _N_COLUMNS, index + 1), picture)
    return figure


def _saliency(seen: Mapping[str, Any]) -> Figure:
    n = len(seen["images"])
    figure = _figure(2, n, inches=1.4 * _INCHES)
    for index in range(n):
        title = f"{seen['labels'][index]}, taken for {seen['predicted'][index]}"
        _show(figure.add_subplot(2, n, index + 1), _picture(np.asarray(seen["images"][index])), title)
        _show(figure.add_subplot(2, n, n + index + 1), np.asarray(seen["saliency"][index]))
    return figure


def _confusion(counts: NDArray[np.int64]) -> Figure:
    n = len(counts)
    figure = _figure(1, 1, inches=max(3.5, 0.4 * min(n, 30)))
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
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
