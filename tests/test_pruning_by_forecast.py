"""The rule `forecast`: what it compares with, and when."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from trial_curves import objective, record, running, taught

from search.pruner_settings import ForecastSettings
from search.pruning import named_pruner
from search.search_space import Choices, Dimension, SearchSpace
from search.study_definition import Direction
from search.trial import TrialRecord, TrialState

RULE = ForecastSettings(risk=0.1, min_epochs=2, n_startup_trials=3)
POOR = [0.1, 0.15, 0.17, 0.18, 0.19, 0.2]


def curve(final: float, n_epochs: int) -> list[float]:
    """Return values that rise to `final` at the tenth epoch."""
    return [final - 0.5 * (epoch**-0.8 - 10**-0.8) for epoch in range(1, n_epochs + 1)]


def peers(*finals: float, state: TrialState = TrialState.COMPLETE, first: int = 0) -> list[TrialRecord]:
    return [record(first + number, curve(final, 10), state=state) for number, final in enumerate(finals)]


MANY = peers(0.30, 0.85, 0.90, 0.45, 0.87, 0.60, 0.75, 0.88)


def continued(trial: TrialRecord, by: TrialRecord) -> TrialRecord:
    return replace(by, continues=trial.key, hyperparameters=trial.hyperparameters)


def is_pruned(known: list[TrialRecord], trial: TrialRecord, settings: ForecastSettings = RULE) -> bool:
    return bool(taught(settings, known).prune_reason(trial))


def test_what_cannot_win_is_stopped_and_what_may_goes_on() -> None:
    known = MANY
    assert is_pruned(known, running(curve(0.3, 3)))
    assert not is_pruned(known, running(curve(0.95, 3)))
    reason = taught(RULE, known).prune_reason(running(POOR[:3]))
    assert "best 0.17 by epoch 3 has a chance of " in reason
    assert reason.endswith(" not to end below 0.9, the best of the trials so far; the risk is 0.1")


def test_few_curves_do_not_make_sure_of_what_others_have_refuted() -> None:
    """Most trainings learn nothing, and the best one looks lucky to the model; it began as the one that is judged."""
    curves = {
        0.51: [0.10, 0.10],
        0.44: [0.09, 0.09],
        0.75: [0.13, 0.14],
        0.71: [0.13, 0.13],
        0.39: [0.10, 0.10],
        0.56: [0.10, 0.10, 0.10, 0.10],
        0.72: [0.14, 0.14, 0.14, 0.14],
        0.33: [0.10, 0.10, 0.10, 0.10],
        0.80: [0.10, 0.16, 0.17, 0.25],
        0.78: [0.11, 0.16, 0.26, 0.29],
        0.77: [0.15],
    }
    known = [
        replace(record(number, values, n_epochs=4), hyperparameters={"rate": rate}, horizon_epochs=4)
        for number, (rate, values) in enumerate(curves.items())
    ]
    nearly, poor = (
        replace(running([value], n_epochs=4), hyperparameters={"rate": rate}, horizon_epochs=4)
        for rate, value in ((0.765, 0.15), (0.2, 0.1))
    )
    rule = replace(RULE, min_epochs=1)
    assert not is_pruned(known, nearly, rule)
    reason = taught(rule, known).prune_reason(poor)
    assert float(reason.partition("has a chance of ")[2].split()[0]) > 1e-7, "the best has more than 0.1 by luck"


def test_chances_have_tails() -> None:
    """By a normal distribution of the same width it would be 7e-6."""
    reason = taught(RULE, peers(0.8, 0.9, 0.85)).prune_reason(running(POOR[:3]))
    assert 1e-3 < float(reason.partition("has a chance of ")[2].split()[0]) < 1e-2


def test_a_trial_ends_no_worse_than_it_is_however_lucky_that_was() -> None:
    flat = [record(number, [0.3 + 0.004 * (number % 5)] * 10) for number in range(12)]
    known = [*flat, record(20, [0.42] * 10)]
    assert is_pruned(known, running([0.30, 0.31, 0.34]))
    assert not is_pruned(known, running([0.30, 0.31, 0.40])), "by its neighbours it should be at 0.31"


def test_the_risk_is_what_a_trial_needs() -> None:
    known = peers(0.80, 0.85, 0.90, 0.82)
    trials = [running(curve(0.5 + 0.05 * n, 3)) for n in range(8)]
    counts = [
        sum(is_pruned(known, trial, replace(RULE, risk=risk)) for trial in trials) for risk in (0.0, 0.001, 0.1, 0.5)
    ]
    assert counts == sorted(counts)
    assert 0 == counts[0] < counts[1] < counts[-1]


@pytest.mark.parametrize(("n_others", "risk"), [(25, "0.1"), (26, "0.092"), (50, "0.025"), (100, "0.0063")])
def test_the_more_trials_there_are_the_less_is_risked_for_one(n_others: int, risk: str) -> None:
    known = peers(*(0.5 + 0.4 * (0.618 * number % 1.0) for number in range(n_others)))
    assert taught(RULE, known).prune_reason(running(POOR[:3])).endswith(f"; the risk is {risk}")


@pytest.mark.parametrize(("min_epochs", "due"), [(4, [4, 6, 9]), (None, [3, 4, 7, 10])])
def test_a_trial_is_judged_whenever_it_has_grown_by_half(min_epochs: int | None, due: list[int]) -> None:
    known = [record(number, [*curve(0.8 + 0.02 * number, 10), 0.9, 0.9], n_epochs=12) for number in range(4)]
    pruner = taught(replace(RULE, risk=0.5, min_epochs=min_epochs), known)
    assert [n for n in range(13) if pruner.prune_reason(running(curve(0.3, n), n_epochs=12))] == due


def test_it_says_nothing_before_enough_others_have_a_curve_and_one_is_longer() -> None:
    poor = running(POOR[:3])
    assert not is_pruned(peers(0.8, 0.9), poor)
    assert is_pruned(peers(0.8, 0.9, 0.85), poor)
    assert not is_pruned([record(number, curve(0.9, 3)) for number in range(9)], poor)


def test_its_own_epochs_are_no_rivals_and_a_last_or_unknown_one_is_left_alone() -> None:
    known, poor = peers(0.8, 0.9, 0.85), running(POOR[:3])
    assert is_pruned([*known, poor], poor)
    assert not is_pruned([*known, poor], poor, replace(RULE, n_startup_trials=4))
    assert not is_pruned(known, running(POOR[:3], n_epochs=3))
    assert not is_pruned(known, running([*POOR[:2], math.nan]))


def test_the_longer_the_schedule_the_more_may_come() -> None:
    short, long = (
        is_pruned([replace(each, horizon_epochs=n) for each in MANY], running(POOR[:3], horizon=n)) for n in (10, 200)
    )
    assert short and not long


def test_where_nothing_is_searched_nothing_is_stopped() -> None:
    fixed = Choices(values=("only",))
    space = SearchSpace(dimensions=(Dimension(name="rate", range=fixed, limits=fixed),))
    pruner = named_pruner(RULE, objective=objective(Direction.MAXIMIZE), space=space)
    for each in peers(0.8, 0.9, 0.85):
        pruner.learn(replace(each, hyperparameters={"rate": "only"}))
    assert not pruner.prune_reason(replace(running(POOR[:3]), hyperparameters={"rate": "only"}))


@pytest.mark.parametrize("state", [TrialState.DIVERGED, TrialState.FAILED])
def test_a_trial_that_can_be_the_best_no_more_is_no_bar(state: TrialState) -> None:
    lost = peers(0.99, state=state, first=10)
    good = running(curve(0.72, 3))
    assert is_pruned(peers(0.60, 0.65, 0.70, 0.99), good)
    assert not is_pruned([*peers(0.60, 0.65, 0.70), *lost], good)
    assert not is_pruned(peers(0.6, 0.7, 0.8, state=state), running(POOR[:3]))


def test_a_trial_that_stopped_early_counts_as_one_of_all_its_epochs() -> None:
    finals = [0.3, 0.85, 0.9, 0.6]
    flat = [record(n, [final - 0.05, final, final], state=TrialState.STOPPED_EARLY) for n, final in enumerate(finals)]
    assert is_pruned(flat, running(POOR[:4]))
    assert not is_pruned([replace(each, state=TrialState.RUNNING) for each in flat], running(POOR[:4]))


def test_a_trial_and_its_continuation_are_one() -> None:
    short = [record(number, curve(0.4 + 0.06 * number, 4), n_epochs=4) for number in range(8)]
    longer = [continued(each, record(10 + n, curve(0.4 + 0.06 * n, 10))) for n, each in enumerate(short)]
    poor = running(POOR[:3])
    assert is_pruned([*short, *longer], poor)
    assert not is_pruned([*short, *longer], poor, replace(RULE, n_startup_trials=9)), "they are eight, not sixteen"
    # What has begun to go on is still known by what it had before.
    begun = continued(short[7], running(curve(0.82, 5), number=17))
    assert is_pruned([*short, *longer[:7], begun], poor)
    assert not is_pruned([*short, *longer[:7], begun], poor, replace(RULE, n_startup_trials=9))


def test_a_continuation_that_began_anew_counts_once_it_is_as_long() -> None:
    known = peers(0.60, 0.65, 0.70)
    best = record(3, curve(0.99, 6), n_epochs=6)
    anew = [continued(best, running(curve(0.99, n), number=20)) for n in (1, 5)]
    good = running(curve(0.72, 3))
    assert is_pruned([*known, best], good)
    for n in (1, 2):
        assert is_pruned([*known, best, *anew[:n]], good), "the best so far has not got worse"
    assert not is_pruned([*known, best, *anew], good, replace(RULE, n_startup_trials=6))


def test_the_failure_of_a_continuation_takes_nothing_from_what_it_continued() -> None:
    known = peers(0.60, 0.65, 0.70)
    best = record(3, curve(0.99, 6), n_epochs=6)
    good = running(curve(0.72, 3))
    going_on = continued(best, running(curve(0.99, 8), number=20))
    failed = replace(going_on, state=TrialState.FAILED)
    expected = taught(RULE, [*known, best]).prune_reason(good)
    assert expected
    for order in ([*known, best, failed], [*known, best, going_on, failed]):
        assert taught(RULE, order).prune_reason(good) == expected
    diverged = replace(going_on, state=TrialState.DIVERGED)
    assert not is_pruned([*known, best, going_on, diverged], good), "longer training is what became of it"


def test_a_stage_with_a_schedule_of_its_own_is_compared_with_itself() -> None:
    other = [replace(each, horizon_epochs=40) for each in MANY]
    assert not is_pruned(other, running(POOR[:3]))
    assert is_pruned([*other, *MANY], running(POOR[:3]))
