"""Linear algebra by one thread: on small matrices more of them gain nothing, and wait for each other on busy cores."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import scipy.linalg  # noqa: F401  # its library must be there to be found
from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Let NumPy and SciPy compute with one thread inside the block, in the whole process; as before afterwards.

    The models of learning curves have a few hundred rows. Several threads are no faster there, and many times slower
    where training keeps the cores busy. With one, sums have one order: equal trials give equal suggestions whatever
    number of cores there is.
    """
    one: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return one


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
