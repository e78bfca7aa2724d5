from __future__ import annotations

import math
import random
import warnings
from typing import get_args

import pytest
from trial_curves import EVERY_RULE, RULES, mirrored, random_curve, record, running, taught

from search.pruner_settings import PRUNER_SETTINGS, NoPruning, PrunerSettings
from search.study_definition import Direction
from search.trial import TrialRecord, TrialState

NAN = math.nan
STATES = (TrialState.COMPLETE, TrialState.STOPPED_EARLY, TrialState.PRUNED, TrialState.DIVERGED, TrialState.RUNNING)


def named(settings: PrunerSettings) -> str:
    return settings.name


def history(seed: int, *, n_trials: int = 30) -> list[TrialRecord]:
    draw = random.Random(seed)
    return [record(number, random_curve(draw, at_most=9), state=draw.choice(STATES)) for number in range(n_trials)]


def trials(seed: int) -> list[TrialRecord]:
    draw = random.Random(seed)
    return [running([value * 0.6 for value in random_curve(draw, at_most=9)], number=100 + n) for n in range(25)]


def test_every_rule_is_tried_here() -> None:
    assert {type(each) for each in EVERY_RULE} == set(get_args(PrunerSettings)) == set(PRUNER_SETTINGS.values())


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_the_verdict_depends_on_the_set_of_trials_alone(settings: PrunerSettings) -> None:
    known = history(0)
    expected = [taught(settings, known).prune_reason(trial) for trial in trials(1)]
    assert {bool(reason) for reason in expected} == {True, False}
    earlier = [running(list(each.curve("val_acc"))[:n], number=each.number or 0) for each in known for n in (1, 2)]
    for seed in range(2):
        again = [*known, *known[:7]]
        random.Random(seed).shuffle(again)
        # Snapshots of trials that were still running, learned before they ended, leave no trace either.
        assert [taught(settings, [*earlier, *again]).prune_reason(trial) for trial in trials(1)] == expected


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_what_the_trial_itself_has_shown_is_no_peer_to_it(settings: PrunerSettings) -> None:
    for trial in trials(2):
        pruner = taught(settings, history(3))
        expected = pruner.prune_reason(trial)
        pruner.learn(trial)
        assert pruner.prune_reason(trial) == expected


@pytest.mark.slow
@pytest.mark.parametrize("settings", RULES, ids=named)
def test_less_is_better_is_the_mirror_image(settings: PrunerSettings) -> None:
    up = taught(settings, history(4))
    down = taught(settings, [mirrored(each) for each in history(4)], direction=Direction.MINIMIZE)
    verdicts = [bool(up.prune_reason(trial)) for trial in trials(5)]
    assert [bool(down.prune_reason(mirrored(trial))) for trial in trials(5)] == verdicts
    assert "above" in " ".join(down.prune_reason(mirrored(trial)) for trial in trials(5))


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_only_trials_of_the_same_horizon_are_compared(settings: PrunerSettings) -> None:
    others = [record(each.number or 0, list(each.curve("val_acc")), horizon=20) for each in history(6)]
    alone = taught(settings, others)
    assert not any(alone.prune_reason(trial) for trial in trials(7))
    pruner = taught(settings, history(6))
    expected = [pruner.prune_reason(trial) for trial in trials(7)]
    both = taught(settings, [*history(6), *(record(500 + n, [1.0] * 9, horizon=20) for n in range(9))])
    assert [both.prune_reason(trial) for trial in trials(7)] == expected


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_only_what_trials_had_by_the_same_epoch_counts(settings: PrunerSettings) -> None:
    short = [record(number, [0.9]) for number in range(20)]
    assert not any(taught(settings, short).prune_reason(running([0.0] * 4, number=n)) for n in range(100, 120))


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_a_trial_in_its_last_epoch_is_left_alone(settings: PrunerSettings) -> None:
    peers = [record(number, [0.9] * 9) for number in range(20)]
    pruner = taught(settings, peers)
    bad = [([0.0] * n_epochs, number) for n_epochs in (4, 5) for number in range(100, 130)]
    assert any(pruner.prune_reason(running(curve, number=number)) for curve, number in bad)
    assert not any(pruner.prune_reason(running(curve, number=number, n_epochs=len(curve))) for curve, number in bad)
    assert pruner.prune_reason(running([])) == ""


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_a_trial_as_good_as_all_others_is_never_pruned(settings: PrunerSettings) -> None:
    pruner = taught(settings, [record(number, [0.5, 0.6, 0.7, 0.8]) for number in range(20)])
    for number in range(100, 120):
        for n_epochs in range(1, 5):
            assert pruner.prune_reason(running([0.5, 0.6, 0.7, 0.8][:n_epochs], number=number)) == ""


@pytest.mark.parametrize("settings", RULES, ids=named)
def test_holes_in_curves_raise_no_warning_and_are_no_values(settings: PrunerSettings) -> None:
    holes = [record(50, [NAN, math.inf, 0.9, NAN]), record(51, [NAN]), record(52, [])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner = taught(settings, [*history(8), *holes])
        # Divergence is somebody else's verdict.
        assert not any(pruner.prune_reason(running([0.0] * n + [NAN], number=n)) for n in range(9))
        assert not any(pruner.prune_reason(running([-math.inf], number=n)) for n in range(9))


def test_none_never_prunes() -> None:
    pruner = taught(NoPruning(), history(9))
    assert not any(pruner.prune_reason(trial) for trial in trials(10))
