"""Stratified splits of a labelled data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_modules.arguments import check_count, check_number


def stratified_split(
    labels: NDArray[np.integer], *, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out a share of the samples, the same share of every class.

    Args:
        labels: Class of each sample, shape ``(n,)``.
        share: Held-out share, in ``(0, 1)``.
        seed: Decides which samples, together with `labels` alone; >= 0.

    Returns:
        Indices kept and indices held out, each in ascending order; disjoint, and together all of them. Held out are
        ``round(share * n)`` samples, and of each class its exact share rounded up or down.

    Raises:
        ValueError: If `labels` is not one-dimensional, `share` or `seed` is out of bounds, or a side would be empty.
    """
    check_number(share, name="share", low=0.0, high=1.0, includes_low=False)
    check_count(seed, name="seed", at_least=0)
    if labels.ndim != 1:
        raise ValueError(f"`labels` must have shape (n,), but got {labels.shape}.")
    n_held_out = round(share * len(labels))
    if not 0 < n_held_out < len(labels):
        raise ValueError(f"`share` of {len(labels)} samples must leave both sides one, but got {share!r}.")
    classes, counts = np.unique(labels, return_counts=True)
    quotas = _largest_remainders(share * counts, total=n_held_out)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=np.bool_)
    for class_, quota in zip(classes, quotas, strict=True):
        held_out[generator.permutation(np.flatnonzero(labels == class_))[:quota]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _largest_remainders(exact: NDArray[np.float64], *, total: int) -> NDArray[np.int64]:
    """Round each entry up or down so that they sum to `total`; the largest fractions go up, the earlier of equals."""
    quotas = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: total - int(quotas.sum())]] += 1
    return quotas
