"""The modes (train or eval) of a module's parts, each of which has its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_restored(module: nn.Module) -> Iterator[None]:
    """Give every submodule the mode back that it had when the block began: `train` would thaw what is frozen."""
    modes = [(each, each.training) for each in module.modules()]
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode
