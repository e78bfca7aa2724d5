"""Weights that come with the package, each a ``state_dict`` of a network that one of its studies transfers."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_weights() -> dict[str, Path]:
    """Return the file of each by its name, ordered by name; `benchmarks/digits_backbone.py` makes those of digits."""
    folder = Path(str(files("lightning_modules.pretrained")))
    return {file.stem: file for file in sorted(folder.glob("*.pt"))}
