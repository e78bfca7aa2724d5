"""Definitions as earlier versions stored them, in the words of this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def former_defaults(stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted keys of what a definition has as it was the default before definitions told what was left out.

    Its file may have said so itself; where it says nothing of it now, it counts as unchanged.
    """
    if stored["pruner"] == {"name": "none"}:
        yield "pruner"
    for index, stage in enumerate(stored["stages"]):
        if stage["sampler"] == ("tpe" if index else "qmc"):
            yield f"stages.{index}.sampler"
        if stage["narrow"]["rule"] == "quantile_box" or stage["narrow"].get("probability") == 0.8:
            yield f"stages.{index}.narrow"
