"""How good class probabilities of several members are, alone and averaged, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_modules.image_classifier import ImageClassifier
from search.worker.members import copied

_FEWEST_TO_LEAVE_OUT = 3
"""What is left is an ensemble then."""


class AveragedProbabilities:
    """Accuracy and negative log-likelihood of probabilities: of each member, each refit's mean, and the mean of all.

    Of three or more refits with one member each, also of the means without one of them.

    Args:
        sizes: Members of each refit, >= 1; empty if nothing is to be averaged.

    Attributes:
        sizes: The same.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        ends = (0, *accumulate(self.sizes))
        self._refits = [slice(start, end) for start, end in pairwise(ends)]
        self._of_members = [_Score() for _ in range(ends[-1])]
        self._of_refits = [_Score() for _ in self.sizes]
        self._together = _Score()
        self._left_out = [_Score() for _ in self.sizes] if len(self.sizes) == ends[-1] >= _FEWEST_TO_LEAVE_OUT else []

    def refusal(self, batch: Any) -> str | None:
        """Say why batches of this kind cannot be used, or None."""
        if not (
            isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)
        ):
            return "test batches are not pairs (x, y) of tensors"
        labels = batch[1]
        if labels.is_floating_point() or labels.is_complex() or labels.dim() != 1:
            return f"labels are not integers of shape (N,), but {labels.dtype} of shape {tuple(labels.shape)}"
        return None

    def add(self, batch: Any, members: Sequence[LightningModule]) -> str | None:
        """Add one batch ``x (N, …), y (N,)``; returns why that cannot be, or None."""
        x, y = batch
        probabilities: list[Tensor] = []
        for member in members:
            try:
                # As each is tested alone, with dropout on if it is to be.
                forward = member.predicted_scores if isinstance(member, ImageClassifier) else member
                logits = forward(copied(x))
            except Exception as error:
                return f"`forward(x)` raised {type(error).__name__}: {error}"
            if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(y) or logits.shape[1] < 2:
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                return f"`forward(x)` must give scores of shape (N, C) with C >= 2, but gives {shape}"
            probabilities.append(torch.softmax(logits.double(), dim=1))
        n_classes = min(each.shape[1] for each in probabilities)
        if n_classes < max(each.shape[1] for each in probabilities):
            return "the members have different numbers of classes"
        if int(y.max()) >= n_classes or int(y.min()) < 0:
            return f"labels must lie in [0, {n_classes}), but reach from {int(y.min())} to {int(y.max())}"
        for score, each in zip(self._of_members, probabilities, strict=True):
            score.add(each, y)
        for score, own in zip(self._of_refits, self._refits, strict=True):
            score.add(_mean(probabilities[own]), y)
        for index, score in enumerate(self._left_out):
            score.add(_mean([*probabilities[:index], *probabilities[index + 1 :]]), y)
        self._together.add(_mean(probabilities), y)
        return None

    def together(self) -> Mapping[str, float]:
        """Return the metrics of the mean of all; empty if nothing was added."""
        return self._together.metrics()

    def confusion(self) -> tuple[list[int], ...]:
        """Return how often each class, a row each, was taken for each by the mean of all; empty if there is none."""
        return self._together.confusion()

    def of_members(self) -> tuple[Mapping[str, float], ...]:
        """Return the metrics of each member, likewise."""
        return tuple(each.metrics() for each in self._of_members)

    def of_refits(self) -> tuple[Mapping[str, float], ...]:
        """Return the metrics of the mean of each refit's members, likewise."""
        return tuple(each.metrics() for each in self._of_refits)

    def left_out(self) -> tuple[Mapping[str, float], ...]:
        """Return the metrics of the mean of all members but one, for each; empty unless each is a refit, of three."""
        return tuple(each.metrics() for each in self._left_out)


class _Score:
    def __init__(self) -> None:
        self._n_right = 0.0
        self._loss = 0.0
        self._n = 0
        self._confusion: Tensor | None = None

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        predicted, n_classes = probabilities.argmax(dim=1), probabilities.shape[1]
        self._n_right += (predicted == labels).sum().item()
        counts = torch.bincount(labels.long() * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, -1)
        self._confusion = counts if self._confusion is None else self._confusion + counts
        self._loss -= probabilities.gather(1, labels.long()[:, None]).log().sum().item()
        self._n += len(labels)

    def confusion(self) -> tuple[list[int], ...]:
        return () if self._confusion is None else tuple(self._confusion.tolist())

    def metrics(self) -> Mapping[str, float]:
        return {"test_acc": self._n_right / self._n, "test_loss": self._loss / self._n} if self._n else {}


def _mean(probabilities: Sequence[Tensor]) -> Tensor:
    total = probabilities[0]
    for each in probabilities[1:]:
        total = total + each
    return total / len(probabilities)
