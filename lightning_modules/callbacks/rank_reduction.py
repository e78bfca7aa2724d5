"""Make one number of what the processes of a distributed strategy measured on their shares of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch.distributed
from pytorch_lightning import Trainer

T = TypeVar("T")


def gathered(trainer: Trainer, value: T) -> list[T]:
    """Return what every process passed, by rank; all of them must call this at the same point.

    Args:
        trainer: Tells how many processes there are; with one, nothing is sent.
        value: Plain data or tensors on the CPU.
    """
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def mean_over_ranks(trainer: Trainer, values: Mapping[str, float], *, n_samples: int) -> dict[str, float]:
    """Average metrics over all processes; all of them must call this at the same point.

    Exact both for means over a process's own samples and for values that the processes agreed on before.

    Args:
        trainer: Tells how many processes there are; with one, the values come back as they are.
        values: This process's metrics, means over `n_samples` samples.
        n_samples: >= 0.
    """
    if trainer.world_size == 1:
        return dict(values)
    return weighted_means(gathered(trainer, (n_samples, dict(values))))


def weighted_means(shares: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Average metrics, each weighted by the number of samples that it comes from.

    Args:
        shares: Pairs of a number of samples, >= 0, and means over them. A NaN makes the mean NaN.

    Returns:
        For every name the mean over the shares that have it; where none of them has samples, they count alike.
    """
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for _, values in shares for name in values):
        having = [(weight, values[name]) for weight, values in shares if name in values]
        total = sum(weight for weight, _ in having)
        if any(math.isnan(value) for _, value in having):
            means[name] = math.nan
        elif len({value for _, value in having}) == 1:
            means[name] = having[0][1]  # infinities among them, whose weighted sum may be NaN
        elif total == 0:
            means[name] = sum(value for _, value in having) / len(having)
        else:
            means[name] = sum(weight * value for weight, value in having if weight) / total
    return means
