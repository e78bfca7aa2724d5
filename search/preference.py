"""By what the contenders of a study are compared, and so which of a Pareto front becomes the final model.

By default it is the reward. A compromise is the trial that is nearest to the ideal point, which has the best value of
each objective on the front, with each objective measured in widths of the front; what is better than the ideal, as
a mean over seeds may be, is no distance.

Source: Zeleny, "Compromise programming", in Cochrane and Zeleny (eds.), Multiple Criteria Decision Making, 1973.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from search.reward import losses_of
from search.study_definition import FinishSettings, Objective, Winner
from search.trial import Score

Worth: TypeAlias = Callable[[Score], float]
"""More is better; -inf for a trial without a finite reward."""


def worth_of(objective: Objective, settings: FinishSettings | None, *, front: Sequence[Score]) -> Worth:
    """Return what contenders are compared by.

    Args:
        objective: What is optimized.
        settings: The study's finish, None if it has none.
        front: The Pareto front of the search; of a study with one objective it does not matter.
    """
    if settings is None or settings.winner is Winner.FIRST_OBJECTIVE:
        return lambda score: objective.direction.sign * score.reward
    columns = [
        [loss for loss in column if math.isfinite(loss)] or [0.0]
        for column in zip(*(losses_of(score, objective) for score in front), strict=True)
    ]
    ideal = [min(column) for column in columns]
    widths = [(max(column) - min(column)) or 1.0 for column in columns]
    return lambda score: (
        -math.dist(
            [
                max(loss, best) / width
                for loss, best, width in zip(losses_of(score, objective), ideal, widths, strict=True)
            ],
            [best / width for best, width in zip(ideal, widths, strict=True)],
        )
    )
