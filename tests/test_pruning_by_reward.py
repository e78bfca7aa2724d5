"""What pruning compares where the reward is more than the monitored metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from trial_curves import RULES, objective, record, running, taught

from search.constraint import Constraint
from search.pruner_settings import (
    AshaSettings,
    ForecastSettings,
    HyperbandSettings,
    MedianSettings,
    PrunerSettings,
)
from search.study_definition import Objective
from search.trial import TrialRecord, TrialState

WEIGHTED = objective(gap_weight=1.0)
BOUNDED = objective(constraints=(Constraint(metric="gap_acc", at_most=0.1),))
STAGES = (2, 4, 8)
"""Epochs of the trials whose verdicts are asked for; rules judge at some of them."""


def rising(final: float) -> list[float]:
    return [final * (0.5 + 0.05 * epoch) for epoch in range(1, 11)]


def overfitted(count: int = 12) -> list[TrialRecord]:
    """Return trials that reach up to 0.9, of which they lose 0.5 in validation."""
    finals = [0.8 + 0.1 * number / count for number in range(count)]
    return [record(number, rising(final), gaps=rising(0.5)) for number, final in enumerate(finals)]


def sound(n_epochs: int, number: int) -> TrialRecord:
    """Return a trial that will reach 0.65, and loses nothing."""
    return running(rising(0.65)[:n_epochs], gaps=[0.01] * n_epochs, number=number)


def verdicts(settings: PrunerSettings, known: Sequence[TrialRecord], by: Objective) -> list[bool]:
    """Return which trials that generalize are stopped, by epoch and number: brackets have other rungs."""
    pruner = taught(settings, list(known), by=by)
    return [bool(pruner.prune_reason(sound(n, number))) for n in STAGES for number in range(100, 110)]


@pytest.mark.parametrize("settings", RULES, ids=lambda each: str(each.name))
def test_what_generalizes_is_not_stopped_for_what_overfits(settings: PrunerSettings) -> None:
    known = overfitted()
    assert any(verdicts(settings, known, objective())), "by the metric alone it is the worst of all"
    assert not any(verdicts(settings, known, WEIGHTED))
    assert not any(verdicts(settings, known, BOUNDED))


@pytest.mark.parametrize("settings", RULES, ids=lambda each: str(each.name))
def test_among_those_that_count_the_rule_is_what_it_was(settings: PrunerSettings) -> None:
    better = [record(50 + number, rising(0.9), gaps=[0.01] * 10) for number in range(12)]
    for by in (WEIGHTED, BOUNDED):
        assert any(verdicts(settings, [*overfitted(), *better], by))


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED])
@pytest.mark.parametrize("settings", RULES, ids=lambda each: str(each.name))
def test_a_trial_that_broke_a_constraint_is_a_rival_no_more(settings: PrunerSettings, state: TrialState) -> None:
    final = [replace(each, state=state) for each in overfitted()]
    earlier = [running(rising(0.9)[:6], gaps=[0.01] * 6, number=number) for number in range(12)]
    assert not any(verdicts(settings, [*earlier, *final], BOUNDED))


def test_a_trial_counts_with_what_it_came_to_and_not_with_what_it_had_before_its_gap_grew() -> None:
    late = [
        record(n, [0.5, 0.6, 0.62 + 0.01 * n, *[0.7 + 0.01 * n] * 7], gaps=[0.0] * 3 + [0.5] * 7) for n in range(12)
    ]
    forecast = ForecastSettings(risk=0.3, min_epochs=3, n_startup_trials=2)
    sound_now = running([0.3, 0.33, 0.35], gaps=[0.0] * 3)
    assert not taught(forecast, late, by=WEIGHTED).prune_reason(sound_now), "their rewards are 0.31 at the most"
    assert taught(forecast, late, by=objective()).prune_reason(sound_now)


def test_a_trial_that_keeps_its_constraint_again_is_a_rival_again() -> None:
    known = [record(number, rising(0.5 + 0.03 * number), gaps=[0.01] * 10) for number in range(4)]
    best = record(9, rising(0.95), gaps=[0.01] * 10)
    broke = running(rising(0.95)[:5], gaps=[0.3] * 5, number=9)
    forecast = ForecastSettings(risk=0.3, min_epochs=4, n_startup_trials=2)
    good = running(rising(0.6)[:4], gaps=[0.01] * 4)
    expected = taught(forecast, [*known, best], by=BOUNDED).prune_reason(good)
    assert expected and taught(forecast, [*known, broke, best], by=BOUNDED).prune_reason(good) == expected
    assert taught(forecast, [*known, broke], by=BOUNDED).prune_reason(good) != expected


def test_a_reward_that_is_not_finite_is_none() -> None:
    known = [record(number, rising(0.5 + 0.03 * number), gaps=[0.01] * 10) for number in range(6)]
    endless = record(9, rising(0.7), gaps=[math.inf] * 10)
    forecast = ForecastSettings(risk=0.3, min_epochs=4, n_startup_trials=2)
    trial = running(rising(0.3)[:4], gaps=[0.01] * 4)
    expected = taught(forecast, known, by=WEIGHTED).prune_reason(trial)
    assert expected and taught(forecast, [*known, endless], by=WEIGHTED).prune_reason(trial) == expected


def test_the_reason_names_the_reward() -> None:
    poor = running([0.2, 0.3, 0.35, 0.4], gaps=[0.0, 0.1, 0.2, 0.3])
    known = [record(number, rising(0.9), gaps=[0.1] * 10) for number in range(12)]
    median = MedianSettings(n_startup_trials=2, n_warmup_epochs=0)
    assert taught(median, known, by=WEIGHTED).prune_reason(poor) == (
        "reward 0.1 by epoch 4 is below 0.53, the median of 12 finished trials at that epoch"
    )
    forecast = ForecastSettings(risk=0.3, min_epochs=4, n_startup_trials=2)
    poor = running([0.2, 0.21, 0.22, 0.23], gaps=[0.1] * 4)
    various = [record(number, rising(0.5 + 0.03 * number), gaps=[0.1] * 10) for number in range(12)]
    reason = taught(forecast, various, by=WEIGHTED).prune_reason(poor)
    assert reason.startswith("reward 0.13 by epoch 4 has a chance of ") and " not to end below 0.73, " in reason


def test_one_training_is_one_rival_however_often_it_was_continued() -> None:
    first = record(0, rising(0.9)[:4], n_epochs=4)
    cut = record(1, rising(0.9)[:6], state=TrialState.PRUNED, continues=first.key)
    last = record(2, rising(0.9), continues=cut.key)
    poor = running([0.1] * 3)
    two = MedianSettings(n_startup_trials=2, n_warmup_epochs=0)
    assert not taught(two, [first, cut, last]).prune_reason(poor)
    assert taught(two, [first, cut, last, record(3, rising(0.9))]).prune_reason(poor)
    late = running([0.1] * 8)
    assert not taught(two, [first, cut, last]).prune_reason(late)
    assert taught(replace(two, n_startup_trials=1), [first, cut, last]).prune_reason(late)


def test_one_training_stands_on_a_rung_once_over_brackets_too() -> None:
    first = record(0, rising(0.9)[:4], n_epochs=4)
    links = [first]
    for number in range(1, 30):  # of which each bracket has some
        links.append(record(number, rising(0.9)[:9], n_epochs=9, state=TrialState.PRUNED, continues=links[-1].key))
    for settings in (
        AshaSettings(min_epochs=1, reduction_factor=2),
        HyperbandSettings(min_epochs=1, reduction_factor=2),
    ):
        pruner = taught(settings, links)
        reasons = {
            pruner.prune_reason(running([0.1] * n, number=m, n_epochs=9)) for n in (1, 2, 4, 8) for m in range(60, 90)
        }
        told = {reason.partition(" that of ")[2].split(" other ")[0] for reason in reasons if reason}
        assert told == {"1 of the 1"}
