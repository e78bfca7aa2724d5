"""How many samples a batch has, and parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities.data import extract_batch_size
from torch import Tensor

from lightning_modules.data.even_shares import even_share


def n_samples_in(batch: Any) -> int:
    """Return the number of samples as Lightning finds it, 1 where it finds none."""
    try:
        return extract_batch_size(batch)
    except (MisconfigurationException, RecursionError):
        return 1


def part_of_batch(batch: Any, *, rank: int, n_ranks: int) -> Any:
    """Return the samples of a batch that belong to `rank`, the whole batch if it cannot be divided among all of them.

    Args:
        batch: Divided if it is made of tensors ``(N, …)`` and scalars alone, in lists, tuples and mappings.
        rank: In ``range(n_ranks)``.
        n_ranks: >= 1.
    """
    n = n_samples_in(batch)
    if n < n_ranks or not _holds_tensors_only(batch):
        return batch
    own = even_share(n, rank=rank, n_ranks=n_ranks)
    return apply_to_collection(
        batch, Tensor, lambda tensor: tensor[own.start : own.stop] if tensor.dim() and len(tensor) == n else tensor
    )


def _holds_tensors_only(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_holds_tensors_only(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_holds_tensors_only(each) for each in value)
    return isinstance(value, Tensor)
