"""The formula of `synthetic_surface` under other declared ranges: wide, wide and badly centred, tight."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import median

import numpy as np
from quality_surface import Number, Point, Surface, SurfaceError, SurfaceRange, random_point
from synthetic_surface import RANGES, SyntheticSurface

_N_RANDOM = 1001


class RangedSurface:
    """A synthetic surface whose regret is measured by what random trainings in its own ranges lack.

    Args:
        surface: What is trained.
        ranges: The declared ranges; the optimum lies inside.
    """

    def __init__(self, surface: SyntheticSurface, ranges: Sequence[SurfaceRange]) -> None:
        self.ranges = ranges
        self.n_epochs = surface.n_epochs
        self.optimum = surface.optimum
        self._surface = surface

    def curve(self, point: Point) -> list[float]:
        return self._surface.curve(point)

    def true_curve(self, point: Point) -> list[float]:
        return self._surface.true_curve(point)

    def normalized_regret(self, value: float) -> float:
        best = self.true_curve(self.optimum)[-1]
        return (best - value) / (best - self._median)

    @cached_property
    def _median(self) -> float:
        rng = np.random.default_rng(1)
        return median(self.true_curve(random_point(self.ranges, rng))[-1] for _ in range(_N_RANDOM))


def ranged_surface(regime: str, instance: str, *, noise: float, n_epochs: int) -> RangedSurface:
    """Return an instance under the ranges of a regime.

    Args:
        regime: ``wide`` (as the surface declares them: six decades), ``off_centre`` (eight decades, the optimum within
            the outer fifth, the other ranges as lopsided) or ``tight`` (about a decade round the optimum).
        instance: Any text; optimum and ranges lie where it says.
        noise: Standard deviation of each epoch's accuracy, >= 0.
        n_epochs: Epochs of a training of full length, >= 1.

    Raises:
        SurfaceError: If no regime has that name.
    """
    if regime not in REGIMES:
        raise SurfaceError(f"a regime must be one of {', '.join(REGIMES)}, but got {regime!r}.")
    surface = SyntheticSurface(instance, noise=noise, n_epochs=n_epochs)
    rng = np.random.default_rng([zlib.crc32(instance.encode()), 7])
    ranges = [REGIMES[regime](each, surface.optimum[each.name], rng) for each in RANGES]
    return RangedSurface(surface, ranges)


def _as_declared(declared: SurfaceRange, optimum: Number, rng: np.random.Generator) -> SurfaceRange:
    del optimum, rng
    return declared


def _off_centre(declared: SurfaceRange, optimum: Number, rng: np.random.Generator) -> SurfaceRange:
    if declared.name == "dropout":
        return _named(declared, 0.0, 0.95)
    if declared.is_int:
        return _named(declared, declared.low, 4096 if declared.is_log else 24)
    share = rng.uniform(0.05, 0.2)
    below = share if rng.random() < 0.5 else 1.0 - share
    return _around(declared, optimum, decades=8.0, below=below)


def _tight(declared: SurfaceRange, optimum: Number, rng: np.random.Generator) -> SurfaceRange:
    below = rng.uniform(0.3, 0.7)
    if declared.name == "dropout":
        return _named(declared, max(0.0, optimum - 0.3 * below), optimum + 0.3 * (1.0 - below))
    if declared.is_int and not declared.is_log:
        return _named(declared, max(1, int(optimum) - 1), int(optimum) + 2)
    return _around(declared, optimum, decades=0.6 if declared.is_int else 1.0, below=below)


def _around(declared: SurfaceRange, optimum: Number, *, decades: float, below: float) -> SurfaceRange:
    low = math.log10(optimum) - decades * below
    return _named(declared, 10.0**low, 10.0 ** (low + decades))


def _named(declared: SurfaceRange, low: float, high: float) -> SurfaceRange:
    bounds = (int(low), math.ceil(high)) if declared.is_int else (low, high)
    return SurfaceRange(name=declared.name, kind=declared.kind, low=bounds[0], high=bounds[1])


REGIMES: dict[str, Callable[[SurfaceRange, Number, np.random.Generator], SurfaceRange]] = {
    "wide": _as_declared,
    "off_centre": _off_centre,
    "tight": _tight,
}


def optimum_of(surface: Surface) -> dict[str, Number] | None:
    """Return where the optimum of a surface lies, None if nobody knows."""
    return surface.optimum if isinstance(surface, RangedSurface) else None
