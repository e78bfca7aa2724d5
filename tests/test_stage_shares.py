"""How stages share a budget, as pure functions: laws that hold for every plan."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from search.budget import Allowance, may_start
from search.forecast import Load, Pace
from search.stage_shares import end_shares, epoch_parts, stage_part, stage_quotas
from search.study_definition import Budget, NarrowRule, SearchStage


def a_plan(*shapes: tuple[int, int]) -> tuple[SearchStage, ...]:
    """Stages of so many trials of so many epochs."""
    rule = NarrowRule(rule="none")
    return tuple(
        SearchStage(name=f"s{index}", n_trials=n_trials, max_epochs=max_epochs, sampler="random", narrow=rule)
        for index, (n_trials, max_epochs) in enumerate(shapes)
    )


plans = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=4).map(
    lambda shapes: a_plan(*shapes)
)
PACE = Pace(seconds_per_epoch=1.0, seconds_per_run=0.0, n_workers=1, devices_per_worker=1.0)


def opened(plan: tuple[SearchStage, ...]) -> tuple[SearchStage, ...]:
    """The same with an open last stage."""
    return (*plan[:-1], replace(plan[-1], n_trials=None))


def planned_epochs(plan: tuple[SearchStage, ...]) -> int:
    return sum((stage.n_trials or 0) * stage.max_epochs for stage in plan)


def searched(
    plan: tuple[SearchStage, ...], limit: int, *, n_workers: int = 1, saves: bool = False, seed: int = 0
) -> tuple[int, list[int], set[int]]:
    """Search by the rules and return what was trained; `saves`: some trials end sooner than they may.

    Returns:
        Epochs, trials of each stage, and the stages that have a trial that the budget did not stop.
    """
    rng = random.Random(seed)
    trained, index, n_begun = 0, 0, [0] * len(plan)
    running: list[list[int]] = []  # stage, epochs so far, epochs until it ends
    ended: list[list[int]] = []

    def may_have_another() -> bool:
        stage = plan[index]
        if stage.n_trials is not None and n_begun[index] >= stage.n_trials:
            return False
        done = [each[1] for each in ended if each[0] == index]
        mean = (sum(done) + stage.max_epochs) / (len(done) + 1)
        n_left = (n_begun[index] + 1 if stage.n_trials is None else stage.n_trials) - len(done)
        later = [Load(n_runs=s.n_trials, n_epochs=s.max_epochs) for s in plan[index + 1 :] if s.n_trials is not None]
        under_way = sum(plan[each[0]].max_epochs - each[1] for each in running)
        return may_start(
            [Allowance(name="epochs", limit=limit, spent=trained, under_way=under_way)],
            loads=[Load(n_runs=n_left, n_epochs=mean), *later],
            max_epochs=stage.max_epochs,
            part=stage_part(plan, index),
            n_begun=n_begun[index],
            n_running=len(running),
            pace=replace(PACE, n_workers=n_workers),
        )

    while True:
        while len(running) < n_workers:
            if may_have_another():
                most = plan[index].max_epochs
                running.append([index, 0, rng.randint(1, most) if saves else most])
                n_begun[index] += 1
            elif index + 1 < len(plan) and trained < limit and not any(each[0] == index for each in running):
                index += 1
            else:
                break
        if not running:
            return trained, n_begun, {each[0] for each in ended if each[1] == each[2]}
        trial = running.pop(rng.randrange(len(running)))
        trial[1] += 1
        trained += 1
        is_over = trial[1] == trial[2] or trained >= limit
        (ended if is_over else running).append(trial)


@given(plans, st.integers(1, 300), st.integers(1, 8), st.booleans(), st.booleans(), st.integers(0, 99))
def test_no_more_than_the_budget_is_trained_and_each_stage_has_a_trial_if_that_is_affordable(
    plan: tuple[SearchStage, ...], limit: int, n_workers: int, is_open: bool, saves: bool, seed: int
) -> None:
    plan = opened(plan) if is_open else plan
    trained, n_trials, whole = searched(plan, limit, n_workers=n_workers, saves=saves, seed=seed)
    assert trained <= limit + n_workers - 1
    if limit >= sum(stage.max_epochs for stage in plan):
        assert min(n_trials) >= 1
        assert n_workers > 1 or len(whole) == len(plan)
    assert all(n <= stage.n_trials for n, stage in zip(n_trials, plan, strict=True) if stage.n_trials is not None)
    if is_open:
        assert trained >= limit
        head = plan[:-1]
        if planned_epochs(head) <= min(limit // 2, limit - plan[-1].max_epochs):
            assert n_trials[:-1] == [stage.n_trials for stage in head]


@given(plans, st.integers(1, 300), st.integers(0, 99))
def test_one_worker_trains_exactly_the_budget_or_all_that_is_planned(
    plan: tuple[SearchStage, ...], limit: int, seed: int
) -> None:
    trained, n_trials, _ = searched(plan, limit, seed=seed)
    if planned_epochs(plan) <= limit:
        assert (trained, n_trials) == (planned_epochs(plan), [stage.n_trials for stage in plan])
    elif len(plan) == 1 or limit >= sum(stage.max_epochs for stage in plan):
        last = plan[-1]
        assert trained == limit or n_trials[-1] == last.n_trials
    assert searched(opened(plan), limit, seed=seed, saves=True)[0] == limit


@given(plans, st.integers(1, 300))
@example(a_plan((20, 2), (1, 9)), 20)
def test_what_a_plan_tells_of_the_stages_parts_is_the_whole_budget_or_the_whole_plan(
    plan: tuple[SearchStage, ...], limit: int
) -> None:
    parts, open_parts = epoch_parts(limit, plan), epoch_parts(limit, opened(plan))
    assert min(*parts, *open_parts) >= 0
    assert sum(parts) == min(limit, planned_epochs(plan))
    assert sum(open_parts) == limit
    firsts = [stage.max_epochs for stage in plan]
    if sum(firsts) <= limit:
        for each in (parts, open_parts):
            assert all(part >= first for part, first in zip(each, firsts, strict=True))
        assert sum(open_parts[:-1]) <= limit / 2 + sum(firsts[:-1])  # one trial each at least
    if planned_epochs(plan[:-1]) <= min(limit / 2, limit - firsts[-1]):
        assert sum(open_parts[:-1]) == planned_epochs(plan[:-1])


@given(plans, st.integers(1, 60))
def test_a_number_of_trials_is_shared_with_an_open_stage_to_the_last_one(
    plan: tuple[SearchStage, ...], n_trials: int
) -> None:
    plan, budget = opened(plan), Budget(n_trials=n_trials)
    quotas = [quota for quota in stage_quotas(budget, plan, first_trial_number=0) if quota is not None]
    assert sum(quotas) == n_trials and len(quotas) == len(plan)
    assert n_trials < len(plan) or min(quotas) >= 1
    assert sum(quotas[:-1]) <= max(n_trials // 2, min(len(plan) - 1, n_trials - 1))
    if sum(stage.n_trials or 0 for stage in plan) <= n_trials // 2:
        assert quotas[:-1] == [stage.n_trials for stage in plan[:-1]]
    for n_over in range(len(plan)):
        had = sum(quotas[:n_over])
        assert stage_quotas(budget, plan[n_over:], first_trial_number=had) == tuple(quotas[n_over:])
    assert stage_quotas(Budget(epochs=9), plan, first_trial_number=0)[-1] is None


@given(plans)
def test_the_shares_before_an_open_stage_are_a_half(plan: tuple[SearchStage, ...]) -> None:
    shares = end_shares(opened(plan))
    assert shares[-1] == 1.0
    assert all(one < other for one, other in zip((0.0, *shares), shares, strict=False))
    assert shares[:-1] == tuple(0.5 * each for each in end_shares(plan[:-1])) if len(plan) > 1 else shares == (1.0,)


def test_an_open_stage_of_an_hour_starts_what_still_fits_and_stages_before_it_keep_to_their_half() -> None:
    plan = opened(a_plan((20, 2), (20, 2)))

    def starts(index: int, spent: float) -> bool:
        return may_start(
            [Allowance(name="hours", limit=60.0, spent=spent)],
            loads=[Load(n_runs=20, n_epochs=2.0)],
            max_epochs=2,
            part=stage_part(plan, index),
            n_begun=5,
            n_running=0,
            pace=PACE,
        )

    assert [starts(0, spent) for spent in (28.0, 29.0)] == [True, False]
    assert [starts(1, spent) for spent in (58.0, 59.0)] == [True, False]


def starts_by_epochs(plan: tuple[SearchStage, ...], *, limit: int, spent: int, n_left: int, under_way: int = 0) -> bool:
    """Whether the first stage of a plan, which has had a trial, starts another one."""
    first, *later = plan
    return may_start(
        [Allowance(name="epochs", limit=limit, spent=spent, under_way=under_way)],
        loads=[
            Load(n_runs=n_left, n_epochs=first.max_epochs),
            *(Load(n_runs=each.n_trials, n_epochs=each.max_epochs) for each in later if each.n_trials is not None),
        ],
        max_epochs=first.max_epochs,
        part=stage_part(plan, 0),
        n_begun=1,
        n_running=0,
        pace=PACE,
    )


def test_what_trials_under_way_may_still_take_counts_as_taken() -> None:
    plan = a_plan((20, 2), (5, 8))  # the first one has 30 of 60 epochs
    assert starts_by_epochs(plan, limit=60, spent=20, under_way=8, n_left=10)
    assert not starts_by_epochs(plan, limit=60, spent=20, under_way=9, n_left=10)


def test_no_stage_takes_what_the_first_trial_of_a_later_one_needs() -> None:
    plan = a_plan((20, 2), (1, 9))  # the first one has 16 of 20 epochs, of which the other one needs 9
    assert starts_by_epochs(plan, limit=20, spent=9, n_left=15)
    assert not starts_by_epochs(plan, limit=20, spent=10, n_left=15)


def test_all_that_is_planned_fits_only_beside_a_trial_of_an_open_stage() -> None:
    plan = opened(a_plan((3, 2), (1, 8)))  # all of the first one is less than half of either budget
    assert starts_by_epochs(plan, limit=14, spent=4, n_left=1)
    assert not starts_by_epochs(plan, limit=13, spent=4, n_left=1)
