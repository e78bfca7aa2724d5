"""What the devices of a study were doing, second by second: training, or waiting, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DeviceUse(StrEnum):
    """What a worker does with its device; every second of every worker is counted under one of these."""

    TRAINING = "training"
    # Waits for the coordinator: to be asked, or for its answer to an epoch; or its device is kept free for a trial that
    # has run out of memory beside others.
    BETWEEN_TRIALS = "between_trials"
    STAGE_BORDER = "stage_border"  # waits for stragglers, whose results are needed to go on
    STARTING = "starting"  # imports its libraries, or waits for the study to be checked and opened
    ENDING = "ending"  # nothing is left to start: the finish has fewer runs than there are workers


LOST_USES = (DeviceUse.STAGE_BORDER, DeviceUse.BETWEEN_TRIALS)
"""What a better coordinator could have used; starting and ending are the study's own."""


def lost_share(seconds: Mapping[str, float]) -> float:
    """Return the share of the workers' time that was lost at stage borders and between trials, in ``[0, 1]``.

    Args:
        seconds: Worker seconds by `DeviceUse`; uses that are not there count as none.
    """
    total = sum(seconds.values())
    return sum(seconds.get(use, 0.0) for use in LOST_USES) / total if total > 0.0 else 0.0
