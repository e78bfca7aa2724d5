"""The stages' parts of a budget: shares of what the search may spend, and numbers of trials.

In proportion to planned epochs, laid end to end; of trials, each stage gets at least one while there are enough. A last
stage without `n_trials` is open: it has as many trials as the budget allows. The stages before it get what they
planned, at most half of the budget together, and it gets the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.forecast import Load
from search.study_definition import Budget, SearchStage

_MOST_BEFORE_AN_OPEN_STAGE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePart:
    """A stage's part of what the search may spend.

    Attributes:
        end_share: Share up to and including this stage, in ``(0, 1]``.
        planned_share: Share in which all that is planned, from this stage on, must fit for nobody to be kept from
            anything: 1, or a half before an open stage, which is itself never done.
        firsts: One trial of each later stage.
        unplanned: That of them which is nobody's plan: the one of a later open stage.
    """

    end_share: float
    planned_share: float
    firsts: tuple[Load, ...] = ()
    unplanned: tuple[Load, ...] = ()

    @property
    def is_last(self) -> bool:
        """Whether no stage follows."""
        return not self.firsts


def stage_part(stages: Sequence[SearchStage], index: int) -> StagePart:
    """Return the part of the stage at that position."""
    firsts = tuple(Load(n_runs=1, n_epochs=stage.max_epochs) for stage in stages[index + 1 :])
    end_share, is_open = end_shares(stages)[index], stages[-1].n_trials is None
    if not is_open:
        return StagePart(end_share=end_share, planned_share=1.0, firsts=firsts)
    planned_share = _MOST_BEFORE_AN_OPEN_STAGE if firsts else 0.0
    return StagePart(end_share=end_share, planned_share=planned_share, firsts=firsts, unplanned=firsts[-1:])


def planned_epochs(stages: Sequence[SearchStage]) -> tuple[int, ...]:
    """Return the epochs that the trials of each stage but an open one may take: ``n_trials * max_epochs``.

    Less what trials that continue shorter ones take over at least.
    """
    planned = []
    for index, stage in enumerate(stages):
        shorter = [each.max_epochs for each in stages[:index] if each.max_epochs < stage.max_epochs]
        if stage.n_trials is not None:
            planned.append(stage.n_trials * stage.max_epochs - stage.promote * min(shorter, default=0))
    return tuple(planned)


def end_shares(stages: Sequence[SearchStage]) -> tuple[float, ...]:
    """Return, for each stage, the share of what the search has up to and including it; the last one is 1.

    In proportion to planned epochs; those of the stages before an open one share a half.
    """
    planned = planned_epochs(stages)
    shares = [sum(planned[: index + 1]) / sum(planned) for index in range(len(planned))]
    if len(planned) == len(stages):
        return tuple(shares)
    return (*(_MOST_BEFORE_AN_OPEN_STAGE * share for share in shares), 1.0)


def epoch_parts(n_epochs: int, stages: Sequence[SearchStage]) -> tuple[int, ...]:
    """Return the epochs of a budget of so many that each stage gets if none of its trials ends before its time.

    All that is planned, if it fits; of an open stage what is left. What is rounded off goes to the stages after.
    """
    planned, is_open = planned_epochs(stages), stages[-1].n_trials is None
    room = min(n_epochs * _MOST_BEFORE_AN_OPEN_STAGE, n_epochs - stages[-1].max_epochs) if is_open else n_epochs
    if sum(planned) <= room:
        return (*planned, n_epochs - sum(planned)) if is_open else planned
    parts: list[int] = []
    for index, (stage, share) in enumerate(zip(stages, end_shares(stages), strict=True)):
        left = n_epochs - sum(parts)
        later = sum(each.max_epochs for each in stages[index + 1 :])
        wanted = min(int(share * n_epochs) - sum(parts), left - later)
        parts.append(min(left, max(wanted, stage.max_epochs)))
    return tuple(parts)


def stage_quotas(budget: Budget, stages: Sequence[SearchStage], *, first_trial_number: int) -> tuple[int | None, ...]:
    """Return the trials that each stage may have: those planned, or its part of what the budget leaves.

    Args:
        budget: The bounds; only ``n_trials`` counts here.
        stages: Those to come, or from the one under way on.
        first_trial_number: Trials that the stages before them had, >= 0.

    Returns:
        Each in ``[0, n_trials of the stage]``; all together they are the budget, or the plan if that is less. None for
        an open stage that a number of trials does not bound.
    """
    if budget.n_trials is None:
        return tuple(stage.n_trials for stage in stages)
    left = max(0, budget.n_trials - first_trial_number)
    planned = [stage.n_trials for stage in stages if stage.n_trials is not None]
    is_open = len(planned) < len(stages)
    room = left
    if is_open:
        half = int(_MOST_BEFORE_AN_OPEN_STAGE * budget.n_trials)
        room = max(0, min(left, max(half - first_trial_number, min(len(planned), left - 1))))
    quotas = []
    for index in range(len(planned)):
        quotas.append(_first_quota(planned[index:], left=room))
        room -= quotas[-1]
    return (*quotas, left - sum(quotas)) if is_open else tuple(quotas)


def _first_quota(planned: Sequence[int], *, left: int) -> int:
    if left >= sum(planned):
        return planned[0]
    # One each as far as it goes, the rest in proportion; what is rounded off goes to the stages after.
    rest, claims = left - len(planned), [n - 1 for n in planned]
    if rest <= 0:
        return min(left, 1)
    return 1 + rest * claims[0] // sum(claims)
