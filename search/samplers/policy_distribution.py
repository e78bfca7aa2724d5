"""A stochastic policy over a region of unit coordinates: a Gaussian through its distribution function, and softmaxes.

The way through the region along numeric parameters is ``x = Phi(z)`` with ``z ~ N(mean, root root^T)``, full
covariance, so that every draw lies inside, densities and divergences are exact, and ``N(0, I)`` is uniform: the prior
is a member of the family. Each choice has probabilities of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from search.samplers.coordinates import Array, UnitCoordinates
from search.samplers.region import Region

_MARGIN = 1e-9  # of uniform numbers from 0 and 1, where the normal quantile is infinite


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDistribution:
    """Where the policy draws.

    Attributes:
        mean: Of the Gaussian, shape ``(q,)``, one a numeric column.
        root: Lower triangular root of its covariance, shape ``(q, q)``.
        shares: Probabilities of the choices, one array for each column of choices, each > 0 and summing to 1.
    """

    mean: Array
    root: Array
    shares: tuple[Array, ...]

    @classmethod
    def uniform(cls, coordinates: UnitCoordinates, region: Region) -> Self:
        """Return the prior."""
        n_numeric = int(np.sum(~coordinates.is_choice))
        return cls(
            mean=np.zeros(n_numeric),
            root=np.eye(n_numeric),
            shares=tuple(np.full(n, 1.0 / n) for n in region.n_choices(coordinates)),
        )

    def units(self, uniforms: Array, coordinates: UnitCoordinates, region: Region) -> Array:
        """Return the coordinates that uniform numbers are turned into, snapped to values, shape ``(n, d)``.

        Args:
            uniforms: In ``[0, 1]``, shape ``(n, d)``; even ones give an even sample of the policy.
            coordinates: Of the parameters.
            region: Where the policy draws.
        """
        is_choice = coordinates.is_choice
        ways = np.empty_like(uniforms)
        ways[:, ~is_choice] = ndtr(self.mean + standard_normals(uniforms[:, ~is_choice]) @ self.root.T)
        chosen = self.chosen(uniforms[:, is_choice])
        for column, indices, shares in zip(np.flatnonzero(is_choice), chosen, self.shares, strict=True):
            ways[:, column] = (indices + 0.5) / len(shares)
        return coordinates.snap(region.point(ways))

    def chosen(self, uniforms: Array) -> tuple[NDArray[np.int64], ...]:
        """Return which of its choices uniform numbers are turned into, one array of shape ``(n,)`` for each column.

        Args:
            uniforms: In ``[0, 1]``, shape ``(n, n_columns)``.
        """
        return tuple(
            np.searchsorted(np.cumsum(shares)[:-1], column, side="right").astype(np.int64)
            for column, shares in zip(uniforms.T, self.shares, strict=True)
        )


def standard_normals(uniforms: Array) -> Array:
    """Return the normal quantiles of uniform numbers in ``[0, 1]``, all finite."""
    normals: Array = ndtri(np.clip(uniforms, _MARGIN, 1.0 - _MARGIN))
    return normals
