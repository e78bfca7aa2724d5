"""Random changes of training images that leave their class alone: which, how strong, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_modules.arguments import check_count, check_number
from lightning_modules.data.augmentation_colour import random_brightness, random_colour, random_contrast
from lightning_modules.data.augmentation_geometry import random_affine, random_flip
from lightning_modules.data.cutout import random_cutout
from lightning_modules.data.pixel_statistics import PixelStatistics
from lightning_modules.data.random_shift import RandomShift

_STRENGTHS: dict[str, float] = {
    "flip_probability": 1.0,
    "max_rotation": 180.0,
    "max_scale": 1.0,
    "max_brightness": 1.0,
    "max_contrast": 1.0,
    "max_saturation": 1.0,
    "max_hue": 180.0,
}
"""The largest value of each strength that is no whole number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """How strong each change is; one of strength 0 is left out, and draws no random number.

    Attributes:
        flip_probability: Of an image to be mirrored left to right, in ``[0, 1]``.
        max_rotation: In degrees, in ``[0, 180]``.
        max_scale: Images are magnified by up to ``1 + max_scale`` and shrunk by as much, in ``[0, 1]``.
        max_shift: In pixels along each axis, >= 0.
        max_brightness: In ``[0, 1]``, see `random_brightness`.
        max_contrast: In ``[0, 1]``, see `random_contrast`.
        max_saturation: In ``[0, 1]``, see `random_colour`.
        max_hue: In degrees, in ``[0, 180]``, see `random_colour`.
        cutout_size: Side of the square that is hidden, in pixels, >= 0.
    """

    flip_probability: float = 0.0
    max_rotation: float = 0.0
    max_scale: float = 0.0
    max_shift: int = 0
    max_brightness: float = 0.0
    max_contrast: float = 0.0
    max_saturation: float = 0.0
    max_hue: float = 0.0
    cutout_size: int = 0

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        for name, high in _STRENGTHS.items():
            check_number(getattr(self, name), name=name, low=0.0, high=high, includes_low=True, includes_high=True)
        check_count(self.max_shift, name="max_shift", at_least=0)
        check_count(self.cutout_size, name="cutout_size", at_least=0)

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        return self == AugmentationSettings()

    @property
    def needs_colour(self) -> bool:
        """Whether it is for images of red, green and blue alone."""
        return self.max_saturation > 0 or self.max_hue > 0


class Augmentation:
    """Change each image of a batch by its own draws from torch's global generator on the CPU.

    Images are raw, before any preprocessing, and come out as raw ones: mirrored, turned and resized, shifted (that is,
    padded and cropped again), then brightness, contrast, saturation and hue, and last the hidden square. What comes in
    from outside is black; the hidden square is the mean of each channel. Nothing leaves the range from black to white.
    """

    def __init__(self, settings: AugmentationSettings, *, statistics: PixelStatistics) -> None:
        """Take from the train images' statistics what is black, white and mean.

        Args:
            settings: What to do.
            statistics: Of the train images, raw.

        Raises:
            ValueError: If the images are too small for `cutout_size`, or have not the three colours that
                `max_saturation` and `max_hue` need.
        """
        n_channels, height, width = statistics.mean_chw.shape
        if settings.needs_colour and n_channels != 3:
            name = "max_saturation" if settings.max_saturation else "max_hue"
            raise ValueError(
                f"`{name}` needs images of red, green and blue, 3 channels, or must be 0, but they have {n_channels}."
            )
        if settings.cutout_size > min(height, width):
            raise ValueError(
                f"`cutout_size` must be at most the smaller side of the images, {min(height, width)} pixels, "
                f"but got {settings.cutout_size}."
            )
        self.settings = settings
        self._low = statistics.low
        self._high = statistics.high
        self._channel_means = statistics.of_channels()[0].float()
        self._shift = RandomShift(max_shift=settings.max_shift, fill=statistics.low)

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies in float32; ``(N, C, H, W)`` in and out."""
        return self._change_colours(self._move(images.float()))

    def _move(self, images: Tensor) -> Tensor:
        settings = self.settings
        if settings.flip_probability:
            images = random_flip(images, probability=settings.flip_probability)
        if settings.max_rotation or settings.max_scale:
            images = random_affine(
                images, max_rotation=settings.max_rotation, max_scale=settings.max_scale, fill=self._low
            )
        return self._shift(images)

    def _change_colours(self, images: Tensor) -> Tensor:
        settings, low, high = self.settings, self._low, self._high
        if settings.max_brightness:
            images = random_brightness(images, max_change=settings.max_brightness, low=low, high=high)
        if settings.max_contrast:
            images = random_contrast(images, max_change=settings.max_contrast, low=low, high=high)
        if settings.needs_colour:
            images = random_colour(
                images, max_saturation=settings.max_saturation, max_hue=settings.max_hue, low=low, high=high
            )
        if settings.cutout_size:
            fill = self._channel_means.to(images.device)
            images = random_cutout(images, size=settings.cutout_size, fill=fill)
        return images
