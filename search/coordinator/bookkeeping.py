"""How much wall time the coordinator spends on what is not training."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SWITCH_INTERVAL_SECONDS = 0.0005


class Bookkeeping:
    """Wall seconds by category (``asking``, ``reports``, ``storage``, ``tracking``), for one thread."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def spent_on(self, category: str) -> Iterator[None]:
        """Add the wall time of the block to `category`; blocks do not nest."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[category] += time.perf_counter() - began

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall seconds by category so far."""
        return dict(self._seconds)


@contextmanager
def quick_handover() -> Iterator[None]:
    """Let the coordinator's thread have the interpreter back quickly inside the block.

    After every write to a store it would otherwise wait for Python's switch interval, 5 ms, whenever the MLflow thread
    is computing, and a worker waits with it.
    """
    interval_seconds = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_seconds)
