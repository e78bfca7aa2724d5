"""The Python version of CIFAR's files: pickles by Python 2, of which nothing is run.

An ordinary unpickler calls whatever a file names. This one knows three names, for which it has stand-ins that hold
plain values; a file that names anything else is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CifarPickleError(ValueError):
    """A pickle that is damaged or is no batch of CIFAR."""


def read_batch(content: bytes) -> dict[str, Any]:
    """Return a batch's dictionary; the array in it is of 8-bit integers.

    Args:
        content: A file such as ``data_batch_1`` of CIFAR-10 or ``train`` of CIFAR-100.

    Raises:
        CifarPickleError: If it names anything but NumPy's arrays, or is no pickled dictionary.
    """
    try:
        loaded = _OnlyArrays(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise almost anything
        raise CifarPickleError(f"it is no pickle of CIFAR's ({type(error).__name__}: {error})") from error
    if not isinstance(loaded, dict):
        raise CifarPickleError(f"it holds a {type(loaded).__name__}, not a dictionary")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): value.array() if type(value) is _Array else value
        for key, value in loaded.items()
    }


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: bytes | str, *options: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and so on, which single bytes have not."""


class _Array:
    """Stands in for ``numpy.ndarray``; `state` is what its own ``__reduce__`` gives."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        """Return the values, not to be written to.

        Raises:
            CifarPickleError: If they are no 8-bit integers.
        """
        try:
            _, shape, dtype, is_fortran, content = self.state
            if dtype.code not in (b"u1", "u1"):
                raise CifarPickleError(f"it holds values of type {dtype.code!r}, not u1")
            return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")
        except (ValueError, TypeError, AttributeError) as error:
            raise CifarPickleError(f"its array is damaged: {error}") from error


def _reconstruct(*arguments: object) -> _Array:
    """Stand in for NumPy's function that makes an empty array."""
    return _Array()


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _OnlyArrays(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is not loaded") from None
