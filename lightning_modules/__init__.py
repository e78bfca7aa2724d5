"""Lightning modules, data modules and callbacks; usable without the search engine."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    """Import a public class on first use, so that importing the package alone costs no torch import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
