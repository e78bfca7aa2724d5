"""Forecasts and budgets as pure functions: laws that hold for every study."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.budget import Allowance, affordable_finish, allowances, may_start
from search.budget_words import budget_words, what_was_cut
from search.forecast import Load, Pace, cost, expected_epochs, finish_loads, is_due, measured_pace
from search.narrowing import declared
from search.stage_shares import StagePart, end_shares, stage_quotas
from search.study_definition import Budget, Ensemble, FinishSettings, NarrowRule, SearchStage, StudyDefinition
from search.study_file import definition_from_plain
from search.study_forecast import recorded_pace, study_forecast
from search.study_record import FinishPlan, Spent, StageOpening, StudyForecast
from search.trial import EpochRecord, TrialRecord, TrialState

seconds = st.floats(min_value=0.01, max_value=1e4)
workers = st.integers(min_value=1, max_value=64)
loads = st.lists(
    st.builds(Load, n_runs=st.integers(0, 200), n_epochs=st.floats(min_value=0.1, max_value=100.0)), max_size=4
)
stages = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 30)), min_size=1, max_size=5).map(
    lambda shapes: [
        SearchStage(name=f"s{index}", n_trials=n, max_epochs=e, sampler="random", narrow=NarrowRule(rule="none"))
        for index, (n, e) in enumerate(shapes)
    ]
)
_ENSEMBLES = (Ensemble.NONE, Ensemble.SEEDS, Ensemble.TOP_K)
finishes = st.builds(
    FinishSettings, top_k=st.integers(1, 5), n_seeds=st.integers(1, 5), ensemble=st.sampled_from(_ENSEMBLES)
)


def a_pace(seconds_per_epoch: float, n_workers: int) -> Pace:
    return Pace(
        seconds_per_epoch=seconds_per_epoch,
        seconds_per_run=0.5 * seconds_per_epoch,
        n_workers=n_workers,
        devices_per_worker=1.0,
    )


@given(loads, seconds, workers)
def test_more_workers_never_take_longer_and_never_do_less(work: list[Load], each: float, n_workers: int) -> None:
    alone, fewer, more = (cost(work, a_pace(each, n)) for n in (1, n_workers, n_workers + 1))
    assert more.wall_seconds <= fewer.wall_seconds <= alone.wall_seconds * (1 + 1e-9)
    assert more.device_seconds == fewer.device_seconds == pytest.approx(alone.wall_seconds)
    assert fewer.wall_seconds * n_workers >= fewer.device_seconds * (1 - 1e-9)


@given(loads, loads, seconds, workers)
def test_more_work_takes_longer(one: list[Load], other: list[Load], each: float, n_workers: int) -> None:
    pace = a_pace(each, n_workers)
    parts = cost(one, pace).wall_seconds + cost(other, pace).wall_seconds
    assert cost([*one, *other], pace).wall_seconds == pytest.approx(parts)


@given(st.integers(0, 50), st.integers(1, 30), st.data())
def test_a_trial_is_expected_to_take_some_epochs_and_no_more_than_it_may(
    n: int, most: int, data: st.DataObject
) -> None:
    taken = data.draw(st.integers(0, n * most))
    assert 0 < expected_epochs(n_finished=n, n_epochs=taken, max_epochs=most) <= most


@given(st.integers(1, 200), workers)
def test_a_forecast_comes_once_there_are_trials_to_go_by(n_trials: int, n_workers: int) -> None:
    due = [is_due(n_finished=n, n_trials=n_trials, n_workers=n_workers) for n in range(n_trials + 1)]
    assert due == sorted(due) and due[-1]
    assert not any(due[: min(3, n_trials)])


@given(stages, st.integers(1, 400))
def test_a_budget_of_trials_is_shared_out_to_the_last_one(plan: list[SearchStage], n_trials: int) -> None:
    budget = Budget(n_trials=n_trials)
    quotas = stage_quotas(budget, plan, first_trial_number=0)
    for n_over in range(len(plan)):
        had = sum(quotas[:n_over])
        assert stage_quotas(budget, plan[n_over:], first_trial_number=had) == quotas[n_over:]
    assert sum(quotas) == min(n_trials, sum(stage.n_trials for stage in plan))
    assert all(0 <= quota <= stage.n_trials for quota, stage in zip(quotas, plan, strict=True))
    assert n_trials < len(plan) or min(quotas) >= 1
    assert stage_quotas(Budget(hours=1.0), plan, first_trial_number=0) == tuple(stage.n_trials for stage in plan)


@given(stages)
def test_the_stages_shares_lie_end_to_end(plan: list[SearchStage]) -> None:
    shares = end_shares(plan)
    assert all(one < other for one, other in zip((0.0, *shares), shares, strict=False))
    assert shares[-1] == 1.0


def bounds_of(limit_hours: float, *, spent: float, finish: FinishSettings, pace: Pace) -> tuple[Allowance, ...]:
    used = Spent(wall_seconds=spent, device_seconds=spent)
    return allowances(Budget(hours=limit_hours), spent=used, n_epochs=0, finish=finish, max_epochs=10, pace=pace)


@given(st.floats(0.001, 100.0), st.floats(0.0, 1e6), finishes, seconds, workers)
def test_what_is_held_back_leaves_the_search_half_and_pays_for_the_smallest_finish(
    hours: float, spent: float, finish: FinishSettings, each: float, n_workers: int
) -> None:
    pace = a_pace(each, n_workers)
    (bound,) = bounds_of(hours, spent=spent, finish=finish, pace=pace)
    smallest = cost([Load(n_runs=1, n_epochs=10)], pace).wall_seconds
    assert 0.0 <= bound.reserve <= 0.5 * bound.limit
    assert bound.reserve >= min(smallest, 0.5 * bound.limit)


@given(finishes, st.integers(1, 6), st.floats(0.0, 1e5), st.floats(0.0, 1e5), seconds, workers)
def test_more_time_never_buys_a_smaller_finish_and_there_is_always_one(
    finish: FinishSettings, n_contenders: int, one: float, other: float, each: float, n_workers: int
) -> None:
    pace = a_pace(each, n_workers)
    plans = []
    for left in sorted((one, other)):
        bound = Allowance(name="hours", limit=left + 1.0, spent=1.0, reserve=0.0)
        plan = affordable_finish(finish, [bound], n_contenders=n_contenders, max_epochs=10, pace=pace)
        price = cost(finish_loads(plan, max_epochs=10), pace).wall_seconds
        assert plan.n_refits >= 1
        assert price <= left or (plan.top_k, plan.n_refits) == (0, 1)
        plans.append(price)
    assert plans[0] <= plans[1] * (1 + 1e-9)
    whole = affordable_finish(finish, [], n_contenders=n_contenders, max_epochs=10, pace=pace)
    assert (whole.top_k, whole.n_seeds) == (min(finish.top_k, n_contenders), finish.n_seeds)


def starts(spent: float, *, share: float, n_begun: int = 9, limit: float = 100.0, runs: int = 1000) -> bool:
    bound = Allowance(name="hours", limit=limit, spent=spent, reserve=20.0)
    work = [Load(n_runs=runs, n_epochs=1.0)]
    part = StagePart(end_share=share, planned_share=1.0)
    return may_start([bound], loads=work, max_epochs=1, part=part, n_begun=n_begun, n_running=0, pace=a_pace(1.0, 1))


@given(st.floats(0.0, 120.0), st.floats(0.0, 120.0), st.floats(0.01, 1.0))
def test_who_has_spent_more_may_not_start_what_another_may_not(one: float, other: float, share: float) -> None:
    less, more = sorted((one, other))
    assert starts(less, share=share) or not starts(more, share=share)


def test_a_stage_stops_at_its_share_but_only_if_not_all_fits() -> None:
    assert starts(38.0, share=0.5)
    assert not starts(39.0, share=0.5)  # of the 80 that are not held back, less the trial itself
    assert starts(39.0, share=0.5, runs=20)  # everything fits: no reason to cut anything
    assert starts(60.0, share=0.5, n_begun=0)  # each stage gets its first trial
    assert not starts(80.0, share=1.0, n_begun=0)


DEFINITION: StudyDefinition = definition_from_plain(
    {
        "study": "s",
        "seed": 0,
        "model": {"class_path": "package.Net"},
        "objective": {"monitor": "val_acc", "direction": "maximize"},
        "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
        "stages": [
            {"name": "coarse", "n_trials": 20, "max_epochs": 2},
            {"name": "fine", "n_trials": 10, "max_epochs": 8},
        ],
        "finish": {"top_k": 2, "n_seeds": 2},
    }
)


def forecast(
    budget: Budget, *, n_done: int = 4, n_running: int = 0, n_workers: int = 1, stage: int = 0
) -> StudyForecast:
    """What is expected after `n_done` trials of the first stage; `n_running` more of it have begun."""
    opening = StageOpening(
        index=stage,
        name=DEFINITION.stages[stage].name,
        narrowed=declared(DEFINITION.space),
        first_trial_number=(0, 20)[stage],
        time_ms=0,
    )
    epochs = tuple(EpochRecord(epoch=epoch, metrics={}, time_ms=0) for epoch in (1, 2))
    done = [
        TrialRecord(
            key=f"trial-{number:04d}",
            number=number,
            stage="coarse",
            hyperparameters={},
            seed=0,
            n_epochs=2,
            horizon_epochs=8,
            epochs=epochs if number < n_done else epochs[:1],
            state=TrialState.COMPLETE if number < n_done else TrialState.RUNNING,
            started_ms=0,
        )
        for number in range(n_done + n_running)
    ]
    spent = Spent(
        wall_seconds=120.0 * n_done,
        worker_seconds=120.0 * n_done,
        device_seconds=120.0 * n_done,
        n_epochs=2 * n_done,
        n_workers=n_workers,
    )
    found = study_forecast(
        replace(DEFINITION, budget=budget), openings=[opening], trials=done, spent=spent, pace=recorded_pace(spent)
    )
    assert found is not None
    return found


def test_the_account_that_a_kill_has_lost_comes_back_from_the_logs() -> None:
    epochs = [EpochRecord(epoch=n, metrics={"epoch_seconds": s}, time_ms=0) for n, s in enumerate([9.0, 2.0, 3.0], 1)]
    record = TrialRecord(
        key="trial-0001",
        number=1,
        stage="only",
        hyperparameters={},
        seed=0,
        n_epochs=9,
        horizon_epochs=9,
        epochs=(*epochs, EpochRecord(epoch=4, metrics={"epoch_seconds": math.nan}, time_ms=0)),
        n_taken_over=1,
        started_ms=0,
    )
    found = Spent().with_logged([record, record], devices_per_worker=0.5)
    assert (found.n_epochs, found.epoch_seconds, found.worker_seconds, found.device_seconds) == (6, 10.0, 10.0, 5.0)
    assert recorded_pace(replace(found, n_workers=1)).seconds_per_epoch > 0.0
    known = Spent(worker_seconds=20.0, device_seconds=40.0, epoch_seconds=15.0, n_epochs=8)
    assert known.with_logged([record]) == known
    assert Spent(worker_seconds=1.0, device_seconds=2.0).with_logged([record]).device_seconds == 10.0


def test_a_forecast_counts_all_that_is_left() -> None:
    found = forecast(Budget())
    assert found.stage_seconds == 60.0 * 16 * 2
    assert found.study_seconds == 60.0 * (16 * 2 + 10 * 8 + 2 * 2 * 8 + 2 * 8) == found.device_seconds
    assert (dict(found.left_out), found.finish_is_cut) == ({}, False)
    assert forecast(Budget(), n_workers=4).study_seconds < found.study_seconds


def test_a_forecast_counts_what_still_trains_of_an_earlier_stage_once() -> None:
    alone, beside = (forecast(Budget(), n_done=17, n_running=n, stage=1) for n in (0, 3))
    assert beside.stage_seconds - alone.stage_seconds == 60.0 * 3 * 2
    assert beside.study_seconds - alone.study_seconds == beside.device_seconds - alone.device_seconds == 60.0 * 3 * 2
    for budget in (Budget(), *(Budget(epochs=limit) for limit in range(60, 120))):
        assert forecast(budget, n_running=3) == forecast(budget)  # of the stage under way they are counted anyway


def test_stragglers_leave_less_of_a_budget_to_the_stages_that_follow() -> None:
    budget = Budget(hours=1.5)
    left_out = [forecast(budget, n_done=10, n_running=n, stage=1).left_out.get("fine", 0) for n in range(0, 11, 2)]
    assert left_out == sorted(left_out)
    assert left_out[0] < left_out[-1]


@given(st.floats(0.05, 10.0), workers)
def test_a_forecast_stays_within_the_budget_or_says_what_it_costs(hours: float, n_workers: int) -> None:
    free, bound = forecast(Budget(), n_workers=n_workers), forecast(Budget(hours=hours), n_workers=n_workers)
    assert bound.study_seconds <= free.study_seconds
    fits = 480.0 + 1.25 * free.study_seconds <= 3600.0 * hours
    assert not fits or (dict(bound.left_out), bound.finish_is_cut) == ({}, False)
    cut = bound.study_seconds < free.study_seconds
    assert cut == bool(bound.left_out or bound.finish_is_cut)


def test_a_budget_of_trials_leaves_out_some_of_every_stage() -> None:
    assert dict(forecast(Budget(n_trials=15)).left_out) == {"coarse": 11, "fine": 4}


def test_nothing_is_forecast_without_an_epoch() -> None:
    assert math.isnan(recorded_pace(Spent()).seconds_per_epoch)
    found = study_forecast(DEFINITION, openings=[], trials=[], spent=Spent(), pace=recorded_pace(Spent()))
    assert found is None


def test_a_finish_is_cut_only_where_there_was_more_to_confirm() -> None:
    few = tuple(replace(stage, n_trials=0) for stage in DEFINITION.stages)
    definition = replace(DEFINITION, stages=few, budget=Budget(hours=9.0))

    def told(n_contenders: int) -> tuple[str, ...]:
        plan = FinishPlan(top_k=1, n_seeds=2, n_refits=2)
        return what_was_cut(definition, (), spent=Spent(), plan=plan, n_contenders=n_contenders, early_end=None)

    assert "1 confirmed over 2" in told(2)[0]
    assert told(1) == ()


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(), ""),
        (Budget(hours=1.0), "1 hour"),
        (Budget(hours=0.5, device_hours=3, n_trials=40), "0.5 hours, 3 device hours, 40 trials"),
        (Budget(n_trials=12_345_678, epochs=1), "12,345,678 trials, 1 epoch"),
    ],
)
def test_a_budget_in_words(budget: Budget, words: str) -> None:
    assert budget_words(budget) == words


@given(st.integers(1, 50), st.integers(1, 10), seconds, st.floats(0.0, 100.0))
def test_the_pace_tells_epochs_from_what_a_run_needs_beside_them(
    n_runs: int, n_epochs: int, epoch: float, beside: float
) -> None:
    spent = Spent(
        worker_seconds=n_runs * (n_epochs * epoch + beside),
        epoch_seconds=n_runs * n_epochs * epoch,
        n_epochs=n_runs * n_epochs,
        n_runs=n_runs,
    )
    pace = measured_pace(spent, n_occupied=0, n_workers=1, devices_per_worker=1.0)
    assert cost([Load(n_runs=n_runs, n_epochs=n_epochs)], pace).wall_seconds == pytest.approx(spent.worker_seconds)
    assert pace.seconds_per_epoch == pytest.approx(epoch)


def test_of_an_unfinished_epoch_a_half_is_counted() -> None:
    pace = measured_pace(
        Spent(worker_seconds=75.0, n_epochs=6, n_runs=3), n_occupied=3, n_workers=3, devices_per_worker=1.0
    )
    assert (pace.seconds_per_epoch, pace.seconds_per_run) == (pytest.approx(10.0), pytest.approx(0.0))
