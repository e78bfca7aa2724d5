"""Augmentation by small translations, for a whole batch at once."""

from __future__ import annotations

from torch import Tensor, arange, nn, randint

from lightning_modules.arguments import check_count


class RandomShift:
    """Translate each image of a batch by its own whole numbers of pixels, drawn from torch's global generator.

    Attributes:
        max_shift: Largest shift along each axis, in pixels; every shift up to it is equally likely.
        fill: Value of the pixels that come in from outside, in the images' own unit.
    """

    def __init__(self, *, max_shift: int, fill: float) -> None:
        """Keep the settings.

        Raises:
            ValueError: If `max_shift` is no integer >= 0.
        """
        check_count(max_shift, name="max_shift", at_least=0)
        self.max_shift = max_shift
        self.fill = fill

    def __call__(self, images: Tensor) -> Tensor:
        """Return shifted copies; ``(N, C, H, W)`` in and out."""
        if self.max_shift == 0:
            return images
        n_images, _, height, width = images.shape
        padded = nn.functional.pad(images, (self.max_shift,) * 4, value=self.fill)
        windows_ncyxhw = padded.unfold(2, height, 1).unfold(3, width, 1)
        down, right = randint(2 * self.max_shift + 1, (2, n_images)).to(images.device)
        return windows_ncyxhw[arange(n_images, device=images.device), :, down, right]
