"""Objects that a study file names: a class path, or ``{class_path: …, init_args: {…}}``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from lightning_modules.arguments import ArgumentError

_KEYS = {"class_path", "init_args"}


def class_path_of(value: object, *, name: str) -> str:
    """Return the class path, with or without arguments.

    Args:
        value: Of either form.
        name: How the init argument is called.

    Raises:
        ArgumentError: If it is of neither.
    """
    path = value.get("class_path", "") if isinstance(value, Mapping) and set(value) <= _KEYS else value
    if not isinstance(path, str) or not path.rpartition(".")[0]:
        raise ArgumentError(
            f"`{name}` must be a class path, `package.module.Class`, or {{class_path: …, init_args: {{…}}}}, "
            f"but got {value!r}."
        )
    return path


def init_args_of(value: object, *, name: str) -> dict[str, Any]:
    """Return the arguments, none for a class path alone.

    Raises:
        ArgumentError: If they are no mapping.
    """
    init_args: object = value.get("init_args", {}) if isinstance(value, Mapping) else {}
    if not isinstance(init_args, Mapping):
        raise ArgumentError(f"`{name}.init_args` must map names to values, but got {init_args!r}.")
    return dict(init_args)


def imported(class_path: str, *, name: str) -> Callable[..., Any]:
    """Return the class or function of that path.

    Raises:
        ArgumentError: If there is none; for torchvision it says what to install.
    """
    module_path, _, attribute = class_path.rpartition(".")
    is_torchvision = module_path.partition(".")[0] == "torchvision"
    try:
        found = getattr(importlib.import_module(module_path), attribute, None)
    except ModuleNotFoundError as error:
        hint = " It comes with `pip install 'zeroin[vision]'`." if is_torchvision else ""
        raise ArgumentError(f"`{name}` {class_path!r} cannot be imported: {error}.{hint}") from error
    except RuntimeError as error:
        if not is_torchvision:
            raise
        hint = " Install a torchvision that fits the installed torch."  # its compiled operators are of another one
        raise ArgumentError(f"`{name}` {class_path!r} cannot be imported: {error}.{hint}") from error
    if not callable(found):
        raise ArgumentError(f"`{name}` must name a class or function, but {module_path!r} has no {attribute!r}.")
    maker: Callable[..., Any] = found
    return maker


def made(value: object, *, name: str) -> Any:
    """Make the object; what its arguments name in the long form, in lists and mappings too, is made first.

    Raises:
        ArgumentError: If there is no such class, or it refuses the arguments.
    """
    class_path = class_path_of(value, name=name)
    init_args = {key: _with_objects(each, name=name) for key, each in init_args_of(value, name=name).items()}
    try:
        return imported(class_path, name=name)(**init_args)
    except ArgumentError:
        raise
    except Exception as error:  # classes refuse their arguments by errors of any kind
        raise ArgumentError(f"`{name}` {class_path!r} cannot be made with {init_args!r}: {error}") from error


def _with_objects(value: object, *, name: str) -> object:
    if isinstance(value, Mapping):
        if "class_path" in value:
            return made(value, name=name)
        return {key: _with_objects(each, name=name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_objects(each, name=name) for each in value]
    return value
