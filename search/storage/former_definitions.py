"""Definitions as earlier versions stored them, in the words of this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_of_now(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored definition as this version would have stored it.

    Args:
        stored: Plain data. ``pruner: none`` was stored with the keys of the median rule once.
    """
    pruner = stored.get("pruner")
    if isinstance(pruner, Mapping) and pruner.get("name") == "none":
        return {**stored, "pruner": {"name": "none"}}
    return dict(stored)
