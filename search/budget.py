"""What a study may still spend, and how stages and finish share it.

Time: while all that is planned is expected to fit, nobody is kept from anything. Else every stage has its part of the
time that the search has (the budget less what is held back for the finish), in proportion to its planned epochs
``n_trials * max_epochs``, and the stages' parts are laid end to end: stage i starts no further trial from the moment
at which all stages up to it have spent theirs. What an early stage leaves over goes to the ones after it, and nothing
has to be remembered: the same study at the same time always answers alike. Planned epochs are the user's own statement
of what each stage is worth; spending the budget front to back would buy the whole coarse stage and nothing of the fine.

Epochs of search trials: the same, but exact. What trials under way may still take counts as taken, and no stage takes
what the first trial of each later one may need; the last stage spends the rest to the epoch.

The parts themselves, those of trials among them, are in `search.stage_shares`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from search.forecast import Cost, Load, Pace, cost, finish_loads
from search.stage_shares import StagePart
from search.study_definition import Budget, Ensemble, FinishSettings
from search.study_record import FinishPlan, Spent

SECONDS_PER_HOUR = 3600.0

_MOST_OF_A_BUDGET_FOR_THE_FINISH = 0.5
# Refits train on train + val, and the mean epoch so far may be a short one.
_FINISH_MARGIN = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One thing that a budget bounds, in its own unit: seconds of wall time or of devices, or epochs of search trials.

    Attributes:
        name: Its key in the budget: ``hours``, ``device_hours`` or ``epochs``.
        limit: The bound, > 0.
        spent: What has been spent of it.
        reserve: What is held back for the finish, in ``[0, limit / 2]``; of epochs, which do not bound it, nothing.
        under_way: Of epochs, how many the trials under way may still take; of time that is estimated where it is used.
    """

    name: str
    limit: float
    spent: float
    reserve: float = 0.0
    under_way: float = 0.0

    @property
    def counts_epochs(self) -> bool:
        """Whether it bounds the epochs of search trials, and so nothing of the finish."""
        return self.name == "epochs"

    @property
    def search_left(self) -> float:
        """What the search may still spend; negative once it is used up."""
        return self.part_left(1.0)

    def part_left(self, end_share: float) -> float:
        """Return what is left up to that share, in ``[0, 1]``, of what the search has in all."""
        return end_share * (self.limit - self.reserve) - self.spent

    def of(self, price: Cost) -> float:
        """Return what a cost takes of it."""
        if self.counts_epochs:
            return price.n_epochs
        return price.wall_seconds if self.name == "hours" else price.device_seconds

    @property
    def words(self) -> str:
        """The bound as the study file has it, ``hours 0.75`` or ``epochs 2600``, and what else it is for."""
        if self.counts_epochs:
            return f"{self.name} {self.limit:.0f}"
        return f"{self.name} {self.limit / SECONDS_PER_HOUR:.4g}, less what the finish needs"


def allowances(
    budget: Budget,
    *,
    spent: Spent,
    n_epochs: int,
    n_epochs_under_way: int = 0,
    finish: FinishSettings | None,
    max_epochs: int,
    pace: Pace,
) -> tuple[Allowance, ...]:
    """Return each kind of time, and the epochs, that are bounded, with what is held back for the finish.

    Args:
        budget: The bounds.
        spent: What has been spent.
        n_epochs: Epochs that search trials have trained.
        n_epochs_under_way: Epochs that those under way may still train.
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
            bare = Allowance(name=name, limit=SECONDS_PER_HOUR * hours, spent=used)
            found.append(replace(bare, reserve=_reserve(bare, finish, max_epochs=max_epochs, pace=pace)))
    if budget.epochs is not None:
        found.append(Allowance(name="epochs", limit=budget.epochs, spent=n_epochs, under_way=n_epochs_under_way))
    return tuple(found)


def affordable_finish(
    finish: FinishSettings, bounds: Sequence[Allowance], *, n_contenders: int, max_epochs: int, pace: Pace
) -> FinishPlan:
    """Return the largest finish that what is left allows, with the reserve; the smallest one whatever is left.

    First seeds go, then contenders; last, the best trial is refitted once as it is.

    Args:
        finish: The finish as the study wants it.
        bounds: What bounds it, epochs of search trials aside; empty for no bound.
        n_contenders: Configurations that there are to confirm, >= 1.
        max_epochs: Epochs of each run.
        pace: How fast the study trains.
    """
    plans = list(_finish_plans(finish, n_contenders=n_contenders))
    for plan in plans:
        price = cost(finish_loads(plan, max_epochs=max_epochs), pace)
        if not any(each.of(price) > each.limit - each.spent for each in bounds if not each.counts_epochs):
            return plan
    return plans[-1]


def may_start(
    bounds: Sequence[Allowance],
    *,
    loads: Sequence[Load],
    max_epochs: int,
    part: StagePart,
    n_begun: int,
    n_running: int,
    pace: Pace,
) -> bool:
    """Whether a stage may start one more trial.

    Args:
        bounds: What bounds it; empty for no bound.
        loads: What is left of this stage (at least one run), and all of each later one that is not open; last,
            stragglers of the stages before.
        max_epochs: Epochs that the trial may take; what it is expected to take, `loads` say.
        part: The stage's part.
        n_begun: Trials that the stage has had. While the search has anything at all, it gets one, and one for each
            worker if only wall time is bounded, which they spend side by side.
        n_running: Those that are under way.
        pace: How fast the study trains; unknown, only what has been spent of time counts.
    """
    this, *others = loads
    for each in bounds:
        if not each.search_left > 0.0:
            return False
        is_wall = each.name == "hours"
        if n_begun < (pace.n_workers if is_wall else 1) or (each.counts_epochs and part.is_last):
            continue
        # Time is expected, by the mean trial; epochs are counted, and kept whatever happens.
        n_epochs = float(max_epochs) if each.counts_epochs else this.n_epochs
        planned = each.of(cost((replace(this, n_epochs=n_epochs), *others), pace))
        firsts = each.of(cost(part.firsts, pace))
        room = min(each.part_left(part.planned_share), each.search_left - each.of(cost(part.unplanned, pace)))
        if math.isnan(planned) or planned <= room:
            continue
        single = each.of(cost((Load(n_runs=1, n_epochs=n_epochs),), pace))
        ahead = single + each.under_way
        if each.name == "device_hours":
            ahead += 0.5 * n_running * single  # on average they have half of their time to go
        if ahead > min(each.part_left(part.end_share), each.search_left - firsts):
            return False
    return True


def _reserve(bare: Allowance, finish: FinishSettings | None, *, max_epochs: int, pace: Pace) -> float:
    if finish is None or math.isnan(pace.seconds_per_epoch):
        return 0.0
    most = _MOST_OF_A_BUDGET_FOR_THE_FINISH * bare.limit
    for plan in _finish_plans(finish, n_contenders=finish.top_k):
        wanted = _FINISH_MARGIN * bare.of(cost(finish_loads(plan, max_epochs=max_epochs), pace))
        if wanted <= most:
            return wanted
    return most


def _finish_plans(finish: FinishSettings, *, n_contenders: int) -> Iterator[FinishPlan]:
    """Yield finishes from the whole to the smallest."""
    top_k, is_of_top_k = min(finish.top_k, n_contenders), finish.ensemble is Ensemble.TOP_K
    for n_seeds in range(finish.n_seeds, 0, -1):
        yield FinishPlan(top_k=top_k, n_seeds=n_seeds, n_refits=top_k if is_of_top_k else n_seeds)
    for fewer in range(top_k - 1, 1, -1):
        yield FinishPlan(top_k=fewer, n_seeds=1, n_refits=fewer if is_of_top_k else 1)
    yield FinishPlan(top_k=0, n_seeds=0, n_refits=1)
