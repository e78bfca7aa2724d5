"""What a study may still spend, and how stages and finish share it.

Time: while all that is planned is expected to fit, nobody is kept from anything. Else every stage has its part of the
time that the search has (the budget less what is held back for the finish), in proportion to its planned epochs
``n_trials * max_epochs``, and the stages' parts are laid end to end: stage i starts no further trial from the moment
at which all stages up to it have spent theirs. What an early stage leaves over goes to the ones after it, and nothing
has to be remembered: the same study at the same time always answers alike. Planned epochs are the user's own statement
of what each stage is worth; spending the budget front to back would buy the whole coarse stage and nothing of the fine.

Trials: the same with counts, each stage at least one while there are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from search.forecast import Cost, Load, Pace, cost, finish_loads
from search.study_definition import Budget, FinishSettings, SearchStage
from search.study_record import FinishPlan, Spent

SECONDS_PER_HOUR = 3600.0

_MOST_OF_A_BUDGET_FOR_THE_FINISH = 0.5
# Refits train on train + val, and the mean epoch so far may be a short one.
_FINISH_MARGIN = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One kind of time that a budget bounds.

    Attributes:
        name: ``hours`` or ``device_hours``.
        limit_seconds: The bound, > 0.
        spent_seconds: What has been spent of it.
        reserve_seconds: What is held back for the finish, in ``[0, limit_seconds / 2]``.
    """

    name: str
    limit_seconds: float
    spent_seconds: float
    reserve_seconds: float

    @property
    def search_left_seconds(self) -> float:
        """What the search may still spend; negative once it is used up."""
        return self.limit_seconds - self.reserve_seconds - self.spent_seconds

    def part_left_seconds(self, end_share: float) -> float:
        """Return what is left up to that share, in ``(0, 1]``, of what the search has in all."""
        return end_share * (self.limit_seconds - self.reserve_seconds) - self.spent_seconds

    def of(self, price: Cost) -> float:
        """Return the seconds of this kind in a cost."""
        return price.wall_seconds if self.name == "hours" else price.device_seconds


def allowances(
    budget: Budget, *, spent: Spent, finish: FinishSettings | None, max_epochs: int, pace: Pace
) -> tuple[Allowance, ...]:
    """Return each kind of time that is bounded, with what is held back for the finish.

    Args:
        budget: The bounds.
        spent: What has been spent.
        finish: The finish as the study wants it; if it would take more than half of a bound, a smaller one is kept for.
        max_epochs: Epochs of each run of the finish.
        pace: How fast the study trains; unknown, nothing is held back.
    """
    found = []
    for name, hours, used in (
        ("hours", budget.hours, spent.wall_seconds),
        ("device_hours", budget.device_hours, spent.device_seconds),
    ):
        if hours is not None:
            limit = SECONDS_PER_HOUR * hours
            bare = Allowance(name=name, limit_seconds=limit, spent_seconds=used, reserve_seconds=0.0)
            reserve = _reserve_seconds(bare, finish, max_epochs=max_epochs, pace=pace)
            found.append(replace(bare, reserve_seconds=reserve))
    return tuple(found)


def affordable_finish(
    finish: FinishSettings, bounds: Sequence[Allowance], *, n_contenders: int, max_epochs: int, pace: Pace
) -> FinishPlan:
    """Return the largest finish that what is left allows, with the reserve; the smallest one whatever is left.

    First seeds go, then contenders; last, the best trial is refitted once as it is.

    Args:
        finish: The finish as the study wants it.
        bounds: What bounds it; empty for no bound.
        n_contenders: Configurations that there are to confirm, >= 1.
        max_epochs: Epochs of each run.
        pace: How fast the study trains.
    """
    plans = list(_finish_plans(finish, n_contenders=n_contenders))
    for plan in plans:
        price = cost(finish_loads(plan, max_epochs=max_epochs), pace)
        if not any(each.of(price) > each.limit_seconds - each.spent_seconds for each in bounds):
            return plan
    return plans[-1]


def may_start(
    bounds: Sequence[Allowance], *, loads: Sequence[Load], end_share: float, n_begun: int, n_running: int, pace: Pace
) -> bool:
    """Whether a stage may start one more trial.

    Args:
        bounds: What bounds it; empty for no bound.
        loads: What is left of this stage (at least one run), and all of each later one; last, stragglers of the stages
            before.
        end_share: Share of the planned epochs up to and including this stage, in ``(0, 1]``.
        n_begun: Trials that the stage has had. While the search has any time at all, it gets one, and one for each
            worker if only wall time is bounded, which they spend side by side.
        n_running: Those that are under way; on average they have half of their time to go.
        pace: How fast the study trains; unknown, only what has been spent counts.
    """
    single = cost((Load(n_runs=1, n_epochs=loads[0].n_epochs),), pace)
    planned = cost(loads, pace)
    for each in bounds:
        left = each.search_left_seconds
        if not left > 0.0:
            return False
        is_wall = each.name == "hours"
        is_first = n_begun < (pace.n_workers if is_wall else 1)
        if is_first or math.isnan(pace.seconds_per_epoch) or each.of(planned) <= left:
            continue
        ahead = 1.0 if is_wall else 1.0 + 0.5 * n_running
        if ahead * each.of(single) > each.part_left_seconds(end_share):
            return False
    return True


def end_shares(stages: Sequence[SearchStage]) -> tuple[float, ...]:
    """Return, for each stage, the share of the study's planned epochs up to and including it; the last one is 1."""
    planned = [stage.n_trials * stage.max_epochs for stage in stages]
    return tuple(sum(planned[: index + 1]) / sum(planned) for index in range(len(planned)))


def stage_quotas(budget: Budget, stages: Sequence[SearchStage], *, first_trial_number: int) -> tuple[int, ...]:
    """Return the trials that each stage may have: those planned, or its part of what the budget leaves.

    Args:
        budget: The bounds; only ``n_trials`` counts here.
        stages: Those to come, or from the one under way on.
        first_trial_number: Trials that the stages before them had, >= 0.

    Returns:
        Each in ``[0, n_trials of the stage]``; all together they are the budget, or the plan if that is less.
    """
    planned = [stage.n_trials for stage in stages]
    if budget.n_trials is None:
        return tuple(planned)
    left = max(0, budget.n_trials - first_trial_number)
    quotas = []
    for index in range(len(planned)):
        quotas.append(_first_quota(planned[index:], left=left))
        left -= quotas[-1]
    return tuple(quotas)


def _first_quota(planned: Sequence[int], *, left: int) -> int:
    if left >= sum(planned):
        return planned[0]
    # One each as far as it goes, the rest in proportion; what is rounded off goes to the stages after.
    rest, claims = left - len(planned), [n - 1 for n in planned]
    if rest <= 0:
        return min(left, 1)
    return 1 + rest * claims[0] // sum(claims)


def _reserve_seconds(bare: Allowance, finish: FinishSettings | None, *, max_epochs: int, pace: Pace) -> float:
    if finish is None or math.isnan(pace.seconds_per_epoch):
        return 0.0
    most = _MOST_OF_A_BUDGET_FOR_THE_FINISH * bare.limit_seconds
    for plan in _finish_plans(finish, n_contenders=finish.top_k):
        wanted = _FINISH_MARGIN * bare.of(cost(finish_loads(plan, max_epochs=max_epochs), pace))
        if wanted <= most:
            return wanted
    return most


def _finish_plans(finish: FinishSettings, *, n_contenders: int) -> Iterator[FinishPlan]:
    """Yield finishes from the whole to the smallest."""
    top_k = min(finish.top_k, n_contenders)
    for n_seeds in range(finish.n_seeds, 0, -1):
        yield FinishPlan(top_k=top_k, n_seeds=n_seeds, n_refits=n_seeds)
    for fewer in range(top_k - 1, 1, -1):
        yield FinishPlan(top_k=fewer, n_seeds=1, n_refits=1)
    yield FinishPlan(top_k=0, n_seeds=0, n_refits=1)
