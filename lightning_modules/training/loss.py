"""The loss of a classifier and what it got right, for labels that are classes or label probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.arguments import check_number


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """What training minimizes, weight penalties apart.

    Attributes:
        label_smoothing: Probability, in ``[0, 1)``, that is taken from each label and shared out evenly among all
            classes, the right one included.

    Source:
        label_smoothing: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision" (arXiv
        1512.00567), section 7; there epsilon = 0.1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_number(self.label_smoothing, name="label_smoothing", low=0.0, high=1.0, includes_low=True)


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of images in nats, a scalar in 32 bits at least.

    Args:
        logits: ``(N, n_classes)``; log-probabilities are logits too.
        labels: Classes ``(N,)`` int64, or label probabilities ``(N, n_classes)`` float whose rows sum to 1, as mixup
            makes them. Their gradient is not taken. The last classes may be left out, which have probability 0 then:
            where no image is of them, a data module does not know of them.
        label_smoothing: In ``[0, 1)``.
    """
    logits = in_full(logits)
    if labels.is_floating_point():
        labels = _of_all_classes(labels, logits)
        # torch wants both alike.
        dtype = torch.promote_types(logits.dtype, labels.dtype)
        logits, labels = logits.to(dtype), labels.to(dtype)
    return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def rightness(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each image whether its class was found ``(N,)``: bool, or float where labels are probabilities.

    Of label probabilities, it is the probability of the class that the logits choose. So an image that mixup made of
    0.7 of one class and 0.3 of another counts 0.7 if the first is found, 0.3 if the second, and the mean over images is
    the accuracy that is expected of labels drawn with these probabilities.

    Args:
        logits: ``(N, n_classes)``.
        labels: As for `cross_entropy`.

    Source:
        Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412); its authors' code counts
        training accuracy so.
    """
    predicted = logits.argmax(dim=1)
    if labels.is_floating_point():
        return in_full(_of_all_classes(labels, logits)).gather(1, predicted[:, None])[:, 0]
    return predicted == labels


def in_full(values: Tensor) -> Tensor:
    """Return values in 32 bits where they have 16 (precision ``bf16-true``), in which no sum of an epoch is right."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _of_all_classes(labels: Tensor, logits: Tensor) -> Tensor:
    """Return label probabilities of as many classes as there are logits."""
    return nn.functional.pad(labels, (0, max(logits.shape[1] - labels.shape[1], 0)))
