"""Augmentation by transforms that the user names, those of torchvision for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.arguments import ArgumentError, UnfitArgumentError
from lightning_modules.class_paths import made

NAME = "train_transform"
"""The init argument that they come from."""

DRAWS: tuple[str, ...] = ("image", "batch")
"""What a transform is called with, and so draws its random numbers for."""

Transform = Callable[[Any], Any]


def made_transforms(given: object) -> tuple[Transform, ...]:
    """Return the transforms that an init argument gives.

    Args:
        given: A class path, ``{class_path: …, init_args: {…}}``, anything that can be called, or a list of these; None
            or ``none``, which a choice of a study file can hold, for no transform.

    Raises:
        ArgumentError: If one cannot be made.
    """
    if given is None or given == "none":
        return ()
    parts = given if isinstance(given, list | tuple) else [given]
    transforms = [each if callable(each) else made(each, name=NAME) for each in parts]
    for each in transforms:
        if not callable(each):
            raise ArgumentError(f"`{NAME}` must be a transform, which can be called, but got {each!r}.")
    return tuple(transforms)


class GivenTransform:
    """Apply transforms, one after the other, to raw training images.

    They get what those of torchvision expect: 8-bit integers as they are, of other images floating values that are 0 at
    black and 1 at white; and they give back images of the same size and type.

    Attributes:
        transforms: At least one, in their order.
        draws: ``image`` to call them with each image ``(C, H, W)`` of a batch, or ``batch`` with all ``(N, C, H, W)``,
            which then share what is drawn.
    """

    def __init__(self, transforms: Sequence[Transform], *, draws: str, low: float, high: float) -> None:
        """Keep them.

        Args:
            transforms: See the class.
            draws: See the class.
            low: Black.
            high: White.
        """
        self.transforms = tuple(transforms)
        self.draws = draws
        self._low = low
        self._span = high - low or 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed images; ``(N, C, H, W)`` in and out, 8-bit integers or float32.

        Raises:
            UnfitArgumentError: If a transform raises, or gives back something else.
        """
        if images.dtype == torch.uint8:
            return self._applied(images)
        return self._low + self._span * self._applied((images.float() - self._low) / self._span)

    def _applied(self, images: Tensor) -> Tensor:
        if self.draws == "batch":
            return self._each_applied(images)
        return torch.stack([self._each_applied(image) for image in images])

    def _each_applied(self, images: Tensor) -> Tensor:
        changed: object = images
        for transform in self.transforms:
            try:
                changed = transform(changed)
            except Exception as error:  # transforms raise errors of any kind
                raise _unfit(f"{transform!r} raised {type(error).__name__}: {error}") from error
        if not isinstance(changed, Tensor) or changed.shape != images.shape or changed.dtype != images.dtype:
            found = f"{changed.dtype} of {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed)
            raise _unfit(
                f"it made {found} of {images.dtype} of {tuple(images.shape)}. Leave out what changes the type or"
                " normalizes (`preprocessing_scheme` does), and crop to the images' own size"
            )
        return changed


def _unfit(reason: str) -> UnfitArgumentError:
    return UnfitArgumentError(
        f"`{NAME}` must make of raw images, as tensors, others of the same size and type, but {reason}.",
        owner="data",
        argument=NAME,
    )
