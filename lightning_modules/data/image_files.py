"""Image files of any kind and size, read as arrays of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lightning_modules.arguments import UnfitArgumentError
from lightning_modules.data.data_files import damaged_file
from lightning_modules.data.image_source import ImageSource

SUFFIXES: tuple[str, ...] = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".tif", ".tiff"),
)
"""Of files that are taken for images, in lower case."""

MODES: dict[int, str] = {1: "L", 3: "RGB"}
"""What Pillow calls images of so many channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """What every image is brought to.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: In pixels, or None to leave images as they are.
        width: Likewise, and None if `height` is.
    """

    channels: int
    height: int | None = None
    width: int | None = None


def image_array(image: Image.Image, shape: ImageShape) -> NDArray[np.uint8]:
    """Return an image ``(C, H, W)`` as 8-bit integers.

    It is turned upright if it says how it was taken, and if a size is asked for, scaled (bilinear, over all pixels that
    fall together) so that it just covers that size, and cropped to its middle: nothing is distorted. Of 16 bits a
    value, which Pillow would cut off at 255, the upper 8 count.

    Raises:
        ValueError: If it has 32 bits a value, of which nobody knows what is white.
    """
    upright = _of_8_bits(ImageOps.exif_transpose(image)).convert(MODES[shape.channels])
    if shape.height is not None and shape.width is not None and upright.size != (shape.width, shape.height):
        upright = ImageOps.fit(upright, (shape.width, shape.height), method=Image.Resampling.BILINEAR)
    pixels = np.asarray(upright, dtype=np.uint8)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _of_8_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"it has 32 bits a value, mode {image.mode}, and no known white: convert it to 8 bits")
    return image


class FileSource(ImageSource):
    """One file an image."""

    def __init__(self, paths: Sequence[Path], shape: ImageShape) -> None:
        """Keep the paths, at least one; the first file is read if the shape does not say the size.

        Raises:
            UnfitArgumentError: If it cannot be read.
        """
        self._paths = tuple(map(str, paths))
        self._asked = shape
        known = shape.height is not None and shape.width is not None
        height, width = (shape.height, shape.width) if known else self._read_one(0).shape[1:]
        assert height is not None and width is not None
        self._shape = (len(paths), shape.channels, height, width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._shape

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        _, *size = self._shape
        images = np.empty((len(indices), *size), dtype=np.uint8)
        for row, index in enumerate(indices.tolist()):
            image = self._read_one(index)
            if list(image.shape) != size:
                raise UnfitArgumentError(
                    "`image_size` must be given where images differ in size: the first one is "
                    f"{_in_words(size)}, {self._paths[index]} {_in_words(image.shape)}.",
                    owner="data",
                    argument="image_size",
                )
            images[row] = image
        return images

    def _read_one(self, index: int) -> NDArray[np.uint8]:
        path = self._paths[index]
        try:
            with Image.open(path) as image:
                return image_array(image, self._asked)
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
            raise damaged_file(Path(path), f"it is no image that can be read ({error})") from error


def _in_words(shape: Sequence[int]) -> str:
    return f"{shape[2]} pixels wide and {shape[1]} high"
