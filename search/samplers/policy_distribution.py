"""A stochastic policy over unit coordinates: a Gaussian seen through its distribution function, and softmaxes.

Numeric parameters are ``x = Phi(z)`` with ``z ~ N(mean, root root^T)``, full covariance, so that every draw lies inside
the ranges, densities and divergences are exact, and ``N(0, I)`` is uniform: the prior is a member of the family. Each
choice has probabilities of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import ndtr, ndtri

from search.samplers.coordinates import Array, UnitCoordinates

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
    def uniform(cls, coordinates: UnitCoordinates) -> Self:
        """Return the prior."""
        n_numeric = int(np.sum(~coordinates.is_choice))
        n_choices = (n for n, is_choice in zip(coordinates.n_values, coordinates.is_choice, strict=True) if is_choice)
        return cls(
            mean=np.zeros(n_numeric),
            root=np.eye(n_numeric),
            shares=tuple(np.full(n, 1.0 / n) for n in n_choices if n is not None),
        )

    def units(self, uniforms: Array, coordinates: UnitCoordinates) -> Array:
        """Return the coordinates that uniform numbers are turned into, snapped to values, shape ``(n, d)``.

        Args:
            uniforms: In ``[0, 1]``, shape ``(n, d)``; even ones give an even sample of the policy.
            coordinates: Of the parameters.
        """
        is_choice = coordinates.is_choice
        units = np.empty_like(uniforms)
        units[:, ~is_choice] = ndtr(self.mean + standard_normals(uniforms[:, ~is_choice]) @ self.root.T)
        for column, shares in zip(np.flatnonzero(is_choice), self.shares, strict=True):
            chosen = np.searchsorted(np.cumsum(shares)[:-1], uniforms[:, column], side="right")
            units[:, column] = (chosen + 0.5) / len(shares)
        return coordinates.snap(units)


def standard_normals(uniforms: Array) -> Array:
    """Return the normal quantiles of uniform numbers in ``[0, 1]``, all finite."""
    normals: Array = ndtri(np.clip(uniforms, _MARGIN, 1.0 - _MARGIN))
    return normals
