"""Whether a network was made for the images that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningDataModule

from lightning_modules.arguments import UnfitArgumentError
from lightning_modules.data.image_data import ImageDataModule


def check_matches(model_arguments: Mapping[str, Any], data: LightningDataModule | None) -> None:
    """Compare a network's init arguments with a data module of this package; of others nothing is known.

    Args:
        model_arguments: Of which ``in_channels`` must be the images' number of channels, and ``n_classes`` at least one
            more than the highest label, if they are there.
        data: What the network is to be trained with.

    Raises:
        UnfitArgumentError: If one does not fit.
    """
    if not isinstance(data, ImageDataModule):
        return
    n_classes, in_channels = model_arguments.get("n_classes"), model_arguments.get("in_channels")
    name = type(data).__name__
    if isinstance(n_classes, int) and n_classes < data.n_classes:
        raise UnfitArgumentError(
            f"`n_classes` must be {data.n_classes}, since the labels of {name} are 0 to {data.n_classes - 1}, but is "
            f"{n_classes}.",
            owner="model",
            argument="n_classes",
        )
    channels, height, width = data.image_shape
    if isinstance(in_channels, int) and in_channels != channels:
        raise UnfitArgumentError(
            f"`in_channels` must be {channels}, since the images of {name} are {(channels, height, width)} (channels, "
            f"height, width), but is {in_channels}.",
            owner="model",
            argument="in_channels",
        )
