"""Which samples each batch of an epoch consists of, on each of the processes that train together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.arguments import check_count
from lightning_modules.data.even_shares import even_batches, even_share, n_even_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    """How samples are put into batches; the same batches however many ranks share them out.

    Shuffled, a rank has its part of each global batch of ``n_ranks * batch_size`` samples, the very ones that a single
    process with that batch size has. A last global batch that is not whole is divided as evenly as can be. If a rank
    would have a single sample of it, on which batch normalization cannot train, that batch is left out: other samples
    in every epoch. It stays if it is the only one, or batches are meant to have one sample. In order, every sample is
    seen, and none twice.

    Attributes:
        n_samples: >= 0.
        batch_size: Samples of a batch of each rank, >= 1; the last batch of an epoch has what is left.
        shuffle: Whether every epoch has an order of its own. It is drawn from torch's global random generator on the
            CPU when the first batch of the epoch is asked for, and must be in the same state on every rank then.
        rank: Which share of the samples this process has, in ``range(n_ranks)``.
        n_ranks: Among how many processes they are divided, >= 1, at most `n_samples` unless it is 1.
    """

    n_samples: int
    batch_size: int
    shuffle: bool = False
    rank: int = 0
    n_ranks: int = 1

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If `batch_size` is no integer >= 1, there are fewer samples than ranks, or `rank` is none of
                them.
        """
        check_count(self.batch_size, name="batch_size", at_least=1)
        if self.n_ranks > 1 and not (0 <= self.rank < self.n_ranks <= self.n_samples):
            raise ValueError(
                "`0 <= rank < n_ranks <= number of samples` must hold, but got "
                f"{self.rank}, {self.n_ranks} and {self.n_samples}."
            )

    def __len__(self) -> int:
        """Batches of an epoch, as many on every rank."""
        if self.shuffle:
            return -(-self._n_shuffled // (self.batch_size * self.n_ranks))
        return n_even_batches(self.n_samples, batch_size=self.batch_size, n_ranks=self.n_ranks)

    def batches(self, *, device: torch.device, parts_generators: bool) -> Iterator[Tensor | slice]:
        """Yield what each batch of an epoch consists of: slices, which copy nothing, or shuffled indices ``(n,)``.

        Args:
            device: Where the indices are wanted.
            parts_generators: Whether each rank draws random numbers of its own from torch's global generator once
                the order is drawn, so that all but rank 0 must move theirs to another state.
        """
        if self.shuffle:
            order = torch.randperm(self.n_samples)
            if parts_generators and self.rank > 0:
                torch.default_generator.manual_seed(int(torch.randint(2**62, ())) + self.rank)
            for whole in torch.split(order[: self._n_shuffled].to(device), self.batch_size * self.n_ranks):
                yield self._own_part(whole)
        elif self.n_ranks > 1:
            own = even_batches(self.n_samples, batch_size=self.batch_size, rank=self.rank, n_ranks=self.n_ranks)
            yield from (slice(positions.start, positions.stop) for positions in own)
        else:
            for start in range(0, self.n_samples, self.batch_size):
                yield slice(start, min(start + self.batch_size, self.n_samples))

    @property
    def _n_shuffled(self) -> int:
        """Samples of a shuffled epoch."""
        n_left = self.n_samples % (self.batch_size * self.n_ranks)
        is_too_small = 0 < n_left < 2 * self.n_ranks and self.batch_size > 1
        return self.n_samples - n_left if is_too_small and n_left < self.n_samples else self.n_samples

    def _own_part(self, whole: Tensor) -> Tensor:
        """Return this rank's indices ``(n,)`` of a global batch, n >= 1."""
        own = even_share(len(whole), rank=self.rank, n_ranks=self.n_ranks)
        return whole[own.start : own.stop] if own else whole[self.rank % len(whole)].reshape(1)
