"""Augmentation that blends pairs of images, and their labels with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.arguments import check_count, check_number


class Mixup:
    """Blend each image of a batch with another one of it, and their labels in the same shares.

    Attributes:
        alpha: Each image's share of itself is drawn from the distribution Beta(alpha, alpha): near 0 or 1 for a small
            alpha, uniform for 1, near 1/2 for a large one.
        n_classes: How many classes there are.

    Source:
        Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412); alpha in [0.1, 0.4] on
        ImageNet, 1 on CIFAR.
    """

    def __init__(self, *, alpha: float, n_classes: int) -> None:
        """Keep the settings.

        Raises:
            ValueError: If `alpha` is no number > 0, or `n_classes` no integer >= 1.
        """
        check_number(alpha, name="alpha", low=0.0, includes_low=False)
        check_count(n_classes, name="n_classes", at_least=1)
        self.alpha = alpha
        self.n_classes = n_classes

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Blend a batch by draws from torch's global generator on the CPU.

        Args:
            images: Floating, ``(N, C, H, W)``.
            labels: Classes in ``range(n_classes)``, int64, ``(N,)``.

        Returns:
            Images ``(N, C, H, W)`` and the probability of each class, float32, ``(N, n_classes)``, each row of sum 1.
        """
        shares = self._draw_shares(len(images)).to(images.device, torch.float32)
        partners = torch.randperm(len(images)).to(images.device)
        certain = nn.functional.one_hot(labels, self.n_classes).float()
        shares_n111 = shares.to(images.dtype).reshape(-1, 1, 1, 1)
        blended = torch.lerp(images[partners], images, shares_n111)
        return blended, torch.lerp(certain[partners], certain, shares[:, None])

    def _draw_shares(self, n: int) -> Tensor:
        """Draw ``(n,)`` of Beta(alpha, alpha), in float64, from the logarithms of two Gamma variables.

        For a small alpha both underflow. If G is of Gamma(alpha + 1) and U uniform, ``G * U ** (1 / alpha)`` is of
        Gamma(alpha).
        """
        gamma = torch.distributions.Gamma(torch.tensor(self.alpha + 1.0, dtype=torch.float64), 1.0)
        logs = gamma.sample((2, n)).log() + torch.rand(2, n, dtype=torch.float64).log() / self.alpha
        # Both logarithms are -inf only where both uniform numbers are exactly 0.
        return torch.sigmoid(logs[0] - logs[1]).nan_to_num(0.5)
