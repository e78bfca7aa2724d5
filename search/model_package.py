"""A packaged model: one file that a worker writes and the coordinator registers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

DATA = "data"
"""Folder with the model; what is loaded."""

CODE = "code"
"""Folder with the Python files that loading it takes."""

EXAMPLES_NAME = "examples.npy"
"""Some of the images that it takes."""

_DESCRIPTION_NAME = "package.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageDescription:
    """What is to be told of a packaged model without loading it.

    Attributes:
        loader_module: Name of the module in `CODE` that loads `DATA`.
        n_classes: Classes, >= 2.
        has_class_names: Whether it names the classes that it predicts.
        has_preprocessing: Whether it takes raw images, not what a data module makes of them.
        requirements: Packages that loading it takes, as for pip.
    """

    loader_module: str
    n_classes: int
    has_class_names: bool
    has_preprocessing: bool
    requirements: tuple[str, ...]


def write_description(description: PackageDescription, directory: Path) -> None:
    """Write it into the package's directory."""
    (directory / _DESCRIPTION_NAME).write_text(json.dumps(dataclasses.asdict(description), indent=2))


def read_description(directory: Path) -> PackageDescription:
    """Read it from an unpacked package.

    Raises:
        OSError: If it is not there.
        ValueError: If it is no JSON.
        TypeError: If another version of zeroin has written it.
    """
    plain = json.loads((directory / _DESCRIPTION_NAME).read_text())
    return PackageDescription(**{**plain, "requirements": tuple(plain["requirements"])})
