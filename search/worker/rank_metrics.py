"""One report of an epoch from what the ranks of a group measured; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_modules.callbacks.rank_reduction import weighted_means
from search.errors import SearchError


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMetrics:
    """What one rank has to say of an epoch.

    Attributes:
        trained: Metrics logged in training, means over this rank's samples.
        n_trained: Those samples.
        validated: Metrics logged in validation, likewise.
        n_validated: Those samples.
        learning_rate: At the beginning of the epoch, NaN if there is no optimizer.
        seconds: That the epoch took.
    """

    trained: Mapping[str, float]
    n_trained: int
    validated: Mapping[str, float]
    n_validated: int
    learning_rate: float
    seconds: float


def merged(ranks: Sequence[RankMetrics]) -> dict[str, float]:
    """Return means over all ranks, weighted by samples, the common learning rate, and the slowest rank's time.

    Raises:
        SearchError: If the ranks trained with different learning rates, and so not one model.
    """
    rates = list(dict.fromkeys(each.learning_rate for each in ranks if not math.isnan(each.learning_rate)))
    if len(rates) > 1:
        raise SearchError(
            f"the processes of a trial must train with one learning rate, but have {', '.join(map(str, rates))}:"
            " log the metric that the schedule watches with `sync_dist=True`."
        )
    return {
        **weighted_means([(each.n_trained, each.trained) for each in ranks]),
        **weighted_means([(each.n_validated, each.validated) for each in ranks]),
        "learning_rate": ranks[0].learning_rate,
        "epoch_seconds": max(each.seconds for each in ranks),
    }
