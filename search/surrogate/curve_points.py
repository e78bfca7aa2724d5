"""What the model of learning curves is told: rewards of configurations after so many epochs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLayout:
    """What the ``k`` columns of feature arrays are.

    Attributes:
        parameter: Which of the ``p`` parameters each column belongs to, shape ``(k,)``, in ``[0, p)``; columns of one
            parameter share a lengthscale, as the indicators of a choice do.
        is_warped: Which columns are coordinates in ``[0, 1]`` on a scale that may be bent, shape ``(k,)``.
    """

    parameter: NDArray[np.int64]
    is_warped: NDArray[np.bool_]

    @property
    def n_parameters(self) -> int:
        """The number p."""
        return int(self.parameter.max()) + 1 if len(self.parameter) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoints:
    """Points of learning curves.

    Attributes:
        features: Of the configuration that each of the ``n`` points belongs to, shape ``(n, k)``.
        epochs: After how many epochs it was seen, in ``[1, horizon]``, shape ``(n,)``.
        curve: Which training it belongs to, shape ``(n,)``; a configuration trained twice has two.
        rewards: Standardized, more is better, finite, shape ``(n,)``.
    """

    features: Array
    epochs: Array
    curve: NDArray[np.int64]
    rewards: Array

    def __len__(self) -> int:
        return len(self.rewards)

    def at(self, indices: NDArray[np.int64]) -> CurvePoints:
        """Return some of the points.

        Args:
            indices: Which, shape ``(m,)``.
        """
        return CurvePoints(
            features=self.features[indices],
            epochs=self.epochs[indices],
            curve=self.curve[indices],
            rewards=self.rewards[indices],
        )
