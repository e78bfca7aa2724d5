"""Computing with one thread: on small matrices more of them gain nothing, and wait for each other on busy cores."""

from __future__ import annotations

import functools
import sys
from contextlib import AbstractContextManager

import scipy.linalg  # noqa: F401  # its library must be there to be found
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Let NumPy, SciPy and, where it is loaded already, torch compute with one thread inside the block.

    That holds in the whole process; afterwards all is as before. The models of a search have a few hundred rows.
    Several threads are no faster there, and many times slower where training keeps the cores busy. With one, sums have
    one order: equal trials give equal suggestions whatever number of cores there is.
    """
    one: AbstractContextManager[object] = _libraries("torch" in sys.modules).limit(limits=1)
    return one


@functools.cache
def _libraries(with_torch: bool) -> ThreadpoolController:
    """Return what is loaded; to look takes milliseconds, so it is done once without torch and once with it."""
    del with_torch
    return ThreadpoolController()
