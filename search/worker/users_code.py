"""The files that a class of the user's is made of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_INSTALLED = ("site-packages", "dist-packages")
_OURS = "search"
_SHARED = "lightning_modules"


def files_of(cls: type) -> dict[str, Path]:
    """Return the Python files without which a class cannot be imported elsewhere, by their place on the import path.

    They are those of its own top-level package or module, and of the others that are loaded from beside it; of the
    classes that it inherits from, zeroin's own too. What is installed is left out.
    """
    owner = _place(cls.__module__)
    files: dict[str, Path] = {}
    if owner is not None and not set(owner.parts) & set(_INSTALLED):
        beside = {_place(name) for name in {name.partition(".")[0] for name in sys.modules}}
        for place in beside:
            if place is not None and place.parent == owner.parent and place.stem != _OURS:
                files.update(_files_in(place))
    ours = _place(_SHARED)
    if ours is not None and any(each.__module__.startswith(f"{_SHARED}.") for each in cls.__mro__):
        files.update(_files_in(ours))
    return dict(sorted(files.items()))


def _place(module: str) -> Path | None:
    """Return the directory of a module's top-level package, or its file if it is no package; None if it has neither."""
    top = sys.modules.get(module.partition(".")[0])
    if not isinstance(top, ModuleType) or top.__name__ == "__main__":
        return None
    locations = list(getattr(top, "__path__", ())) or [getattr(top, "__file__", None)]
    return Path(locations[0]).resolve() if locations[0] else None


def _files_in(place: Path) -> Iterator[tuple[str, Path]]:
    if place.is_dir():
        for file in place.rglob("*.py"):
            yield file.relative_to(place.parent).as_posix(), file
    elif place.suffix == ".py":
        yield place.name, place
