"""Samples of a split, read from its loader once, for checks of the data themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_modules.checks.finding import CannotBeCheckedError
from lightning_modules.checks.training_step import images_and_labels

MOST_BYTES = 512 << 20
"""Images beyond that are not kept."""

MOST_SECONDS = 30.0
"""Time after which no further batch of a split is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Images and labels of a split.

    Attributes:
        images: ``(N, …)``, on the CPU, as the loader yields them.
        labels: ``(N,)``, int64, on the CPU.
        are_all: Whether the split has no others.
    """

    images: Tensor
    labels: Tensor
    are_all: bool

    def evenly(self, n: int) -> tuple[Tensor, Tensor]:
        """Return `n` images and labels, or all, with the classes in turn: the first of each, then the second."""
        places = torch.empty(len(self.labels), dtype=torch.int64)
        for label in {*self.labels.tolist()}:
            of_class = (self.labels == label).nonzero().flatten()
            places[of_class] = torch.arange(len(of_class))
        chosen = places.argsort(stable=True)[:n]
        return self.images[chosen], self.labels[chosen]


def read_samples(
    batches: Iterable[Any], *, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS
) -> Samples:
    """Read batches ``(images, labels)`` until they end, or memory or time is used up.

    Raises:
        CannotBeCheckedError: If there is none, or batches are something else.
    """
    deadline = time.monotonic() + most_seconds
    images: list[Tensor] = []
    labels: list[Tensor] = []
    n_bytes, are_all = 0, True
    for batch in batches:
        if n_bytes > most_bytes or (images and time.monotonic() > deadline):
            are_all = False
            break
        some, of_them = images_and_labels(batch)
        if images and some.shape[1:] != images[0].shape[1:]:
            raise CannotBeCheckedError("images are of several sizes")
        images.append(some.detach().cpu())
        labels.append(of_them.detach().cpu())
        n_bytes += some.numel() * some.element_size()
    if not images:
        raise CannotBeCheckedError("the loader yields no batch")
    return Samples(images=torch.cat(images), labels=torch.cat(labels), are_all=are_all)
