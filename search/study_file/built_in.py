"""The studies that ship with zeroin."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def built_in_studies() -> dict[str, Path]:
    """Return the file of each study that runs by name, ordered by name."""
    folder = Path(str(files("studies")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}
