"""The IDX format, in which MNIST and the data sets that took its place are published."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.data_files import damaged_file

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_N_HEADER_BYTES = 4
_N_SIZE_BYTES = 4


def read_idx(path: Path, *, n_dimensions: int) -> NDArray[np.uint8]:
    """Read an array of unsigned bytes, whether the file is compressed by gzip or not.

    Args:
        path: The file, whatever its name.
        n_dimensions: How many the array must have: 3 for images ``(N, H, W)``, 1 for labels ``(N,)``.

    Returns:
        A writable array.

    Raises:
        UnfitArgumentError: If the file is damaged or something else.

    Source:
        LeCun, Cortes and Burges, "The MNIST database of handwritten digits": two zero bytes, a code for the type, the
        number of dimensions, the sizes as big-endian 32-bit integers, the values in C order.
    """
    content = _content(path)
    n_sizes = n_dimensions * _N_SIZE_BYTES
    expected = bytes((0, 0, _UNSIGNED_BYTES, n_dimensions))
    if content[:_N_HEADER_BYTES] != expected or len(content) < _N_HEADER_BYTES + n_sizes:
        found = content[:_N_HEADER_BYTES].hex(" ")
        raise damaged_file(path, f"as an IDX file it must begin with the bytes {expected.hex(' ')}, not {found}")
    shape = tuple(np.frombuffer(content, dtype=">u4", count=n_dimensions, offset=_N_HEADER_BYTES).tolist())
    values = np.frombuffer(content, dtype=np.uint8, offset=_N_HEADER_BYTES + n_sizes)
    if len(values) != math.prod(shape):
        raise damaged_file(path, f"it says that it holds {math.prod(shape)} values, but holds {len(values)}")
    return values.reshape(shape).copy()


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged_file(path, f"it is not all of a gzip file ({error})") from error
