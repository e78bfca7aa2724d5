"""What a training epoch adds up on its way: its loss and how many images it got right."""

from __future__ import annotations

from torch import Tensor


class EpochTotals:
    """Sums over the batches of one epoch, on the images' device; nothing waits for it.

    Attributes:
        loss: Sum of the images' losses.
        n_correct: Sum of their rightness.
        n_images: How many there were.
    """

    def __init__(self) -> None:
        self.loss: Tensor | float = 0.0
        self.n_correct: Tensor | int = 0
        self.n_images = 0
        self._last_batch = -1

    def add(self, batch_idx: int, *, loss: Tensor, right: Tensor) -> None:
        """Count a batch, unless it was counted just before.

        L-BFGS evaluates a batch several times; the first is the one before the step, as with the other optimizers.

        Args:
            batch_idx: Its number in the epoch, >= 0.
            loss: Mean over its images, a scalar.
            right: Of each image, as `loss.rightness` has it ``(N,)``.
        """
        if batch_idx == self._last_batch:
            return
        self._last_batch = batch_idx
        self.loss = self.loss + loss.detach() * len(right)
        self.n_correct = self.n_correct + right.sum()
        self.n_images += len(right)
