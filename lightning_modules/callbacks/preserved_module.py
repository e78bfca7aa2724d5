"""Run code on a module and leave every trace of it undone: attributes, containers, buffers, metric states, modes."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import Dataset

_Restore = Callable[[], None]

_LARGEST_SEARCHED_CONTAINER = 10_000
"""A longer container gets its elements back, but the elements themselves are not looked into: too slow every epoch."""

_ATOMS = (bool, int, float, complex, str, bytes, type(None), type, FunctionType, BuiltinFunctionType, MethodType)
_LIBRARY_PACKAGES = frozenset({"torch", "lightning", "numpy", "lightning_utilities"})
_FOREIGN_PACKAGES = frozenset({*sys.stdlib_module_names, *_LIBRARY_PACKAGES, "pytorch_lightning", "lightning_fabric"})


@contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Undo, on leaving, whatever happened to the state of `module` and of everything reachable from its attributes.

    Restored in place, so that aliases stay aliases: attributes of every submodule (train or eval mode and metric states
    among them), the contents of lists, dicts, sets and deques, the values of buffers, plain tensors and arrays, random
    generators held as attributes, and the attributes of the user's own objects (an ``AverageMeter``).

    Not restored: parameters, gradients, datasets, data modules, the trainer, objects of the standard library, of torch
    and Lightning that are no modules, objects with ``__slots__`` only.

    Args:
        module: Any module; its parameters must not be changed inside the block.
    """
    snapshot = _Snapshot()
    snapshot.take(module)
    try:
        yield
    finally:
        snapshot.restore()


class _Snapshot:
    def __init__(self) -> None:
        self._undo: list[_Restore] = []
        self._seen: dict[int, Any] = {}  # keeps what was seen alive, so that an id is never used twice

    def restore(self) -> None:
        with torch.no_grad():
            for undo in self._undo:
                undo()

    def take(self, root: object) -> None:
        """Remember `root` and what it refers to; iterative, since user objects may nest deeper than the stack."""
        pending = [root]
        while pending:
            value = pending.pop()
            if isinstance(value, _ATOMS) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if isinstance(value, Tensor):
                self._take_tensor(value)
            elif isinstance(value, dict | list | set | deque):
                pending.extend(self._take_container(value))
            elif isinstance(value, tuple | frozenset):
                pending.extend(value)
            elif isinstance(value, nn.Module) or _is_users_own(value):
                pending.extend(self._take_container(vars(value)))
            else:
                self._take_array_or_generator(value)

    def _take_tensor(self, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter) or tensor.layout is not torch.strided:
            return
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            return  # nothing can write to it here
        if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
            return  # expanded: cannot be written to in place
        saved = tensor.detach().clone()
        self._undo.append(lambda: _set_tensor(tensor, saved))

    def _take_container(self, container: Any) -> list[Any]:
        if isinstance(container, dict):
            saved_items = dict(container)
            self._undo.append(lambda: _set_dict(container, saved_items))
            elements = list(saved_items.values())
        else:
            elements = list(container)
            self._undo.append(lambda: _set_elements(container, elements))
        return elements if len(elements) <= _LARGEST_SEARCHED_CONTAINER else []

    def _take_array_or_generator(self, value: object) -> None:
        if isinstance(value, np.ndarray) and value.flags.writeable:
            saved_array = value.copy()
            self._undo.append(lambda: np.copyto(value, saved_array))
        elif isinstance(value, torch.Generator):
            saved_tensor = value.get_state()
            self._undo.append(lambda: _ignore(value.set_state(saved_tensor)))
        elif isinstance(value, random.Random):
            saved_tuple = value.getstate()
            self._undo.append(lambda: value.setstate(saved_tuple))
        elif isinstance(value, np.random.Generator):
            saved_state = value.bit_generator.state
            self._undo.append(lambda: setattr(value.bit_generator, "state", saved_state))


def _is_users_own(value: object) -> bool:
    if isinstance(value, ModuleType | Dataset | LightningDataModule | Trainer):
        return False
    return hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in _FOREIGN_PACKAGES


def _set_tensor(tensor: Tensor, saved: Tensor) -> None:
    if tensor.shape == saved.shape:
        tensor.copy_(saved)
    else:
        tensor.data = saved


def _set_dict(container: dict[Any, Any], saved: dict[Any, Any]) -> None:
    if container.keys() == saved.keys():
        container.update(saved)  # the order of the keys is untouched, and no reader ever sees the dict empty
    else:
        container.clear()
        container.update(saved)


def _set_elements(container: Any, saved: list[Any]) -> None:
    container.clear()
    if isinstance(container, set):
        container.update(saved)
    else:
        container.extend(saved)


def _ignore(_: object) -> None:
    """Give a lambda whose call returns something the type of one that returns nothing."""
