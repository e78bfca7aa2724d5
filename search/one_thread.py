"""Computing with one thread: on small matrices more of them gain nothing, and wait for each other on busy cores."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import scipy.linalg  # noqa: F401  # its library must be there to be found
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Let NumPy, SciPy and, where it is loaded already, torch compute with one thread inside the block.

    That holds in the whole process, but for OpenMP (torch's), where it holds for the calling thread. Of several threads
    that are inside at the same time, the first sets it and the last leaves all as it was before. The models of a search
    have a few hundred rows. Several threads are no faster there, and many times slower where training keeps the cores
    busy. With one, sums have one order: equal trials give equal suggestions whatever number of cores there is.
    """
    shared, own = _libraries("torch" in sys.modules)
    with _LOCK:
        _SHARED.enter(shared)
    _OWN.limits.enter(own)
    try:
        yield
    finally:
        _OWN.limits.leave()
        with _LOCK:
            _SHARED.leave()


class _Limits:
    """Libraries that compute with one thread while anybody is inside, and how many threads they had before."""

    def __init__(self) -> None:
        self._n_inside = 0
        self._before: dict[str, tuple[Any, int]] = {}

    def enter(self, libraries: Sequence[Any]) -> None:
        for each in libraries:
            before = each.num_threads
            if before == 1:
                continue
            _set(each, 1)
            if each.num_threads == 1:  # where another thread has it in hand, it is not ours to put back
                self._before.setdefault(each.filepath, (each, before))
        self._n_inside += 1

    def leave(self) -> None:
        self._n_inside -= 1
        if self._n_inside == 0:
            for library, before in self._before.values():
                _set(library, before)
            self._before.clear()


class _OwnLimits(threading.local):
    def __init__(self) -> None:
        self.limits = _Limits()


_LOCK = threading.Lock()
_SHARED = _Limits()
_OWN = _OwnLimits()


def _set(library: Any, n_threads: int) -> None:
    """Set it in a way that any thread can undo: from threadpoolctl 3.8 on, who has set OpenBLAS's keeps others off."""
    library.set_num_threads(n_threads)
    give_up = getattr(library, "clear_controlling_thread", None)
    if give_up is not None:
        give_up()


@functools.cache
def _libraries(with_torch: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return those whose number of threads is the process's, and those where each thread has its own.

    To look takes milliseconds, so it is done once without torch and once with it.
    """
    del with_torch
    found = ThreadpoolController().lib_controllers
    own = tuple(each for each in found if _is_each_threads_own(each))
    return tuple(each for each in found if each not in own), own


def _is_each_threads_own(library: Any) -> bool:
    if library.internal_api == "openblas":
        return bool(library.threading_layer == "openmp")
    return bool(library.user_api == "openmp")
