"""DropConnect: a linear layer that trains without a random part of its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout


class DropConnectLinear(nn.Linear):
    """A linear layer whose weights and biases are dropped at random in training, for each image of a batch anew.

    Those that are kept are scaled by ``1 / (1 - p)``, so that the layer's mean output is that of evaluation, where
    nothing is dropped. (The paper goes further there and averages the activation over a normal distribution of its
    input.) In training it needs memory for a copy of the weights per image, ``N * out_features * in_features``.

    Source:
        Wan et al. 2013, "Regularization of Neural Networks using DropConnect", section 3.
    """

    def __init__(self, in_features: int, out_features: int, *, p: float) -> None:
        """Build the layer.

        Args:
            in_features: >= 1.
            out_features: >= 1.
            p: Probability of dropping a weight, in ``[0, 1)``.
        """
        super().__init__(in_features, out_features)
        self.p = p

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(N, in_features)`` to ``(N, out_features)``."""
        if not self.training or self.p == 0.0:
            return super().forward(inputs)
        n = len(inputs)
        weights = dropout(self.weight.expand(n, -1, -1), self.p)
        biases = dropout(self.bias.expand(n, -1), self.p)
        return torch.baddbmm(biases.unsqueeze(2), weights, inputs.unsqueeze(2)).squeeze(2)

    def extra_repr(self) -> str:
        """Return what stands between the brackets where the module is printed."""
        return f"{super().extra_repr()}, p={self.p}"
