"""Divide positions among processes so that none is lost, none counted twice, and all have as many batches."""

from __future__ import annotations

from collections.abc import Iterator


def even_share(n: int, *, rank: int, n_ranks: int) -> range:
    """Return the contiguous part of ``range(n)`` that belongs to `rank`; sizes differ by one at most, earlier larger.

    Args:
        n: >= 0.
        rank: In ``range(n_ranks)``.
        n_ranks: >= 1.
    """
    size, n_larger = divmod(n, n_ranks)
    start = rank * size + min(rank, n_larger)
    return range(start, start + size + (rank < n_larger))


def n_even_batches(n: int, *, batch_size: int, n_ranks: int) -> int:
    """Return how many batches every rank has of `n` samples: as few as the batch size allows, none of them empty.

    Args:
        n: >= `n_ranks`.
        batch_size: Of each rank, >= 1.
        n_ranks: >= 1.
    """
    return min(-(-n // (batch_size * n_ranks)), n // n_ranks)


def even_batches(n: int, *, batch_size: int, rank: int, n_ranks: int) -> Iterator[range]:
    """Yield the positions of each batch of a rank, in order.

    A batch is larger than `batch_size`, by one, only if some rank would have an empty one otherwise.

    Args:
        n: >= `n_ranks`.
        batch_size: >= 1.
        rank: In ``range(n_ranks)``.
        n_ranks: >= 1.
    """
    share = even_share(n, rank=rank, n_ranks=n_ranks)
    n_batches = n_even_batches(n, batch_size=batch_size, n_ranks=n_ranks)
    for index in range(n_batches):
        part = even_share(len(share), rank=index, n_ranks=n_batches)
        yield share[part.start : part.stop]
