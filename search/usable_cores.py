"""How many CPU cores there are to work with."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return how many CPU cores this process may use, >= 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
