from __future__ import annotations

import random
import warnings

import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import WilcoxonPruner
from optuna.trial import TrialState as OptunaState
from trial_curves import as_optuna, optuna_study, record, running, taught

from search.pruner_settings import WilcoxonSettings
from search.study_definition import Direction
from search.trial import TrialState

RULE = WilcoxonSettings(p_threshold=0.1, n_startup_epochs=2)
BEST = [0.30, 0.41, 0.52, 0.63, 0.74, 0.85]
POOR = [0.10, 0.20, 0.30, 0.40, 0.50, 0.60]


def test_a_trial_behind_the_best_epoch_by_epoch_is_pruned_once_that_is_no_chance() -> None:
    pruner = taught(RULE, [record(3, BEST), record(4, POOR)])
    # One-sided, n pairs of which all point one way: p = 2**-n.
    assert [bool(pruner.prune_reason(running(POOR[:n]))) for n in range(1, 7)] == [False] * 3 + [True] * 3
    assert pruner.prune_reason(running(POOR[:4])) == (
        "below trial 3, the best finished one, in 4 of 4 epochs (Wilcoxon p = 0.062 < 0.1)"
    )


def test_start_up_asks_for_that_many_epochs_of_both() -> None:
    late = WilcoxonSettings(p_threshold=0.1, n_startup_epochs=5)
    pruner = taught(late, [record(0, BEST)])
    assert [bool(pruner.prune_reason(running(POOR[:n]))) for n in (4, 5)] == [False, True]
    never_one = WilcoxonSettings(p_threshold=1.0, n_startup_epochs=0)
    assert [bool(taught(never_one, [record(0, BEST)]).prune_reason(running(POOR[:n]))) for n in (1, 2)] == [False, True]


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.RUNNING])
def test_the_best_is_one_that_ran_to_its_end(state: TrialState) -> None:
    assert taught(RULE, [record(0, BEST, state=state)]).prune_reason(running(POOR[:5])) == ""


def test_the_best_of_those_that_reached_the_epoch_is_the_one_to_beat() -> None:
    early = record(0, [0.9, 0.9], state=TrialState.STOPPED_EARLY)
    pruner = taught(RULE, [early, record(1, BEST)])
    assert "trial 1," in pruner.prune_reason(running(POOR[:5]))
    assert pruner.prune_reason(running(BEST[:5])) == ""


def test_of_equals_the_first_is_the_one_to_beat() -> None:
    assert "trial 2," in taught(RULE, [record(7, BEST), record(2, BEST)]).prune_reason(running(POOR[:5]))


def test_a_trial_that_has_been_as_good_as_the_best_is_spared() -> None:
    best = [0.2, 0.3, 0.4, 0.5, 0.6, 0.61]
    assert taught(RULE, [record(0, best)]).prune_reason(running([0.19, 0.28, 0.37, 0.48, 0.55])) != ""
    assert taught(RULE, [record(0, best)]).prune_reason(running([0.19, 0.62, 0.37, 0.48, 0.55])) == ""


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("direction", list(Direction))
def test_verdicts_are_those_of_optunas_pruner_where_no_safety_catch_differs(direction: Direction) -> None:
    draw = random.Random(3)
    judged: list[bool] = []
    sign = direction.sign
    for _ in range(80):
        threshold, startup = draw.choice([0.05, 0.1, 0.3]), draw.randrange(6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            theirs = WilcoxonPruner(p_threshold=threshold, n_startup_steps=startup)
        curves = [[sign * round(draw.random(), draw.choice([1, 15])) for _ in range(8)] for _ in range(4)]
        ours = taught(
            WilcoxonSettings(p_threshold=threshold, n_startup_epochs=startup),
            [record(number, curve) for number, curve in enumerate(curves)],
            direction=direction,
        )
        study = optuna_study(direction)
        bests = [max(curve, key=lambda value: sign * value) for curve in curves]
        study.add_trials([as_optuna(curve, value=best) for curve, best in zip(curves, bests, strict=True)])
        leader = max(range(4), key=lambda n: (sign * bests[n], -n))
        curve = [sign * round(draw.random() * 0.7, draw.choice([1, 15])) for _ in range(draw.randint(1, 8))]
        if study.best_trial.number != leader:
            continue  # among equals, Optuna takes another
        theirs_spares = sign * sum(curve) / len(curve) >= sign * sum(curves[leader]) / 8
        ours_spares = max(sign * value for value in curve) >= sign * bests[leader]
        if theirs_spares or ours_spares:
            continue
        expected = bool(theirs.prune(study, as_optuna(curve, OptunaState.RUNNING)))
        assert bool(ours.prune_reason(running(curve))) is expected
        judged.append(expected)
    assert min(judged.count(True), judged.count(False)) > 4
