"""What a bandit expected of an action when it chose one, as it is recorded with the choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What 100 further epochs were believed to improve the best reward by, in spreads.

    Attributes:
        mean: Expected, > 0.
        deviation: Standard deviation of the belief, > 0.
        draw: From the belief, >= 0; the largest was chosen. None if an action was taken whatever was believed.
    """

    mean: float
    deviation: float
    draw: float | None = None


def belief_figures(appraisals: Mapping[str, Appraisal]) -> dict[str, float]:
    """Return the figures by name, ``belief/mean.exploit`` say; a draw that there was none of is left out.

    Args:
        appraisals: By action.
    """
    return {
        f"belief/{name}.{action}": value
        for name in ("mean", "deviation", "draw")
        for action, each in appraisals.items()
        if (value := getattr(each, name)) is not None
    }


def appraisals_to_plain(appraisals: Mapping[str, Appraisal]) -> dict[str, Any]:
    """Return appraisals by action as JSON-able data."""
    return {action: dataclasses.asdict(each) for action, each in appraisals.items()}


def appraisals_from_plain(plain: Mapping[str, Any]) -> dict[str, Appraisal]:
    """Invert `appraisals_to_plain`."""
    return {action: Appraisal(**each) for action, each in plain.items()}
