"""The entry `prior` of a dimension to `search.priors` and back."""

from __future__ import annotations

import math
from collections.abc import Mapping

from search.errors import did_you_mean
from search.priors import ChoicePrior, NormalPrior, Prior
from search.search_space import Choices, Dimension, IntLogRange, LogRange, OneMinusLogRange, Range, Value

_TOLERANCE = 1e-6


class PriorEntryError(Exception):
    """What is wrong with the entry.

    Attributes:
        key: The key in it that is wrong, empty for the entry as a whole.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


def read_prior(entry: Mapping[str, float], *, limits: Range) -> Prior:
    """Return the prior that an entry means.

    Args:
        entry: ``{mean: 1e-3, decades: 1}``, ``{mean: 4, spread: 2}``, or shares of choices, ``{he: 0.6}``.
        limits: Hard limits of the dimension.

    Raises:
        PriorEntryError: If it means none.
    """
    return _of_choices(entry, limits) if isinstance(limits, Choices) else _of_numbers(entry, limits)


def prior_to_plain(dimension: Dimension) -> dict[str, float]:
    """Return the entry of a dimension that has a prior; the inverse of `read_prior`."""
    prior = dimension.prior
    if isinstance(prior, ChoicePrior):
        return {choice_key(value): share for value, share in prior.shares}
    assert prior is not None
    return {"mean": prior.mean, _spread_key(dimension.limits): prior.spread}


def choice_key(value: Value) -> str:
    """Return a choice as a key of a study file spells it: ``adamw``, ``32``, ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spread_key(limits: Range) -> str:
    return "decades" if isinstance(limits, LogRange | IntLogRange | OneMinusLogRange) else "spread"


def _of_numbers(entry: Mapping[str, float], limits: Range) -> NormalPrior:
    assert not isinstance(limits, Choices)
    keys = ("mean", _spread_key(limits))
    for key, value in entry.items():
        if key not in keys:
            raise PriorEntryError(
                key,
                f"the key {key!r} (with the value {value!r}) is unknown; the keys of a prior over such a range are "
                f"{' and '.join(keys)}.{did_you_mean(key, keys)}",
            )
    missing = [key for key in keys if key not in entry]
    if missing:
        raise PriorEntryError(
            "", f"a prior over such a range needs {' and '.join(keys)}, but {' and '.join(missing)} is missing."
        )
    mean, spread = entry["mean"], entry[keys[1]]
    if not limits.low <= mean <= limits.high:
        raise PriorEntryError(
            "mean", f"must lie within the hard limits [{limits.low!r}, {limits.high!r}], but got {mean!r}."
        )
    if not 0.0 < spread < math.inf:
        raise PriorEntryError(keys[1], f"must be a number > 0, but got {spread!r}.")
    return NormalPrior(mean=float(mean), spread=float(spread))


def _of_choices(entry: Mapping[str, float], limits: Choices) -> ChoicePrior:
    """Return the shares; what they leave of 1 goes in equal parts to the choices that have none."""
    keys = [choice_key(value) for value in limits.values]
    if len(set(keys)) < len(keys):
        raise PriorEntryError("", f"needs choices that are spelled differently, but got {list(limits.values)!r}.")
    for key, share in entry.items():
        if key not in keys:
            raise PriorEntryError(
                key, f"must be one of the choices {', '.join(keys)}, but got {key!r}.{did_you_mean(key, keys)}"
            )
        if not 0.0 <= share <= 1.0:
            raise PriorEntryError(key, f"must be a share from 0 to 1, but got {share!r}.")
    left = 1.0 - math.fsum(entry.values())
    others = [key for key in keys if key not in entry]
    if left < -_TOLERANCE or (left > _TOLERANCE and not others):
        rule = "at most 1" if others else "1, since every choice has one"
        raise PriorEntryError("", f"the shares must sum to {rule}, but they sum to {1.0 - left:.6g}.")
    rest = max(left, 0.0) / len(others) if others else 0.0
    return ChoicePrior(
        shares=tuple((value, float(entry.get(key, rest))) for value, key in zip(limits.values, keys, strict=True))
    )
