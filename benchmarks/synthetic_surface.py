"""A formula that behaves like the training of a CNN, with an optimum that is known."""

from __future__ import annotations

import math
import zlib
from functools import cached_property
from statistics import median

import numpy as np
from quality_surface import Number, Point, SurfaceRange, random_point

_CHANCE, _TOP = 0.1, 0.95
_DIVERGES_DECADES = 1.2  # of the learning rate above the best one
_N_RANDOM = 1001

RANGES = (
    SurfaceRange(name="learning_rate", kind="log", low=1e-6, high=1.0),
    SurfaceRange(name="weight_decay", kind="log", low=1e-7, high=1e-1),
    SurfaceRange(name="dropout", kind="linear", low=0.0, high=0.8),
    SurfaceRange(name="width", kind="int_log", low=8, high=512),
    SurfaceRange(name="depth", kind="int", low=1, high=8),
)


class SyntheticSurface:
    """Validation accuracy in ``[0, 1]``: a ridge of learning rate and weight decay, a cliff where training diverges.

    Small learning rates learn slowly, so that short trainings prefer larger ones than long trainings do.

    Args:
        instance: Any text; the optimum lies where it says.
        noise: Standard deviation, >= 0, of what is added to each epoch's accuracy.
        n_epochs: Epochs of a training of full length, >= 1.
    """

    ranges = RANGES

    def __init__(self, instance: str, *, noise: float = 0.0, n_epochs: int = 52) -> None:
        self.n_epochs = n_epochs
        self._noise = noise
        self._seed = zlib.crc32(instance.encode())
        rng = np.random.default_rng(self._seed)
        self.optimum: dict[str, Number] = {
            "learning_rate": 10 ** rng.uniform(-4.0, -1.5),
            "weight_decay": 10 ** rng.uniform(-6.0, -2.0),
            "dropout": rng.uniform(0.05, 0.6),
            "width": int(rng.integers(32, 257)),
            "depth": int(rng.integers(2, 7)),
        }

    def curve(self, point: Point) -> list[float]:
        truth = self.true_curve(point)
        if self._noise == 0.0:
            return truth
        text = repr(sorted(point.items()))
        errors = np.random.default_rng([self._seed, zlib.crc32(text.encode())]).normal(0.0, self._noise, self.n_epochs)
        return [min(max(value + error, 0.0), 1.0) for value, error in zip(truth, errors.tolist(), strict=True)]

    def true_curve(self, point: Point) -> list[float]:
        final = self._final(point)
        rate = 3.0 * 10.0 ** (0.3 * self._decades(point, "learning_rate"))
        epochs = range(1, self.n_epochs + 1)
        full = -math.expm1(-rate)
        return [_CHANCE + (final - _CHANCE) * -math.expm1(-rate * epoch / self.n_epochs) / full for epoch in epochs]

    def normalized_regret(self, value: float) -> float:
        return (_TOP - value) / (_TOP - self._median)

    def _final(self, point: Point) -> float:
        rate, decay = self._decades(point, "learning_rate"), self._decades(point, "weight_decay")
        if rate > _DIVERGES_DECADES:
            return _CHANCE
        distance = (
            (rate + 0.4 * decay) ** 2
            + (decay / 2.0) ** 2
            + ((point["dropout"] - self.optimum["dropout"]) / 0.4) ** 2
            + (math.log2(point["width"] / self.optimum["width"]) / 3.0) ** 2
            + ((point["depth"] - self.optimum["depth"]) / 4.0) ** 2
        )
        return _CHANCE + (_TOP - _CHANCE) * math.exp(-0.5 * distance)

    def _decades(self, point: Point, name: str) -> float:
        return math.log10(point[name] / self.optimum[name])

    @cached_property
    def _median(self) -> float:
        rng = np.random.default_rng([self._seed, 1])
        return median(self._final(random_point(self.ranges, rng)) for _ in range(_N_RANDOM))
