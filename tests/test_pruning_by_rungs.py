from __future__ import annotations

import math
import random
from collections import Counter
from itertools import accumulate

import optuna
import pytest
from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner
from trial_curves import SPACE, mirrored, objective, optuna_study, record, running, taught

from search.pruner_settings import AshaSettings, HyperbandSettings, PrunerSettings
from search.pruning import named_pruner
from search.study_definition import Direction
from search.trial import TrialRecord, TrialState

ASHA = AshaSettings(min_epochs=1, reduction_factor=3)
HYPERBAND = HyperbandSettings(min_epochs=1, reduction_factor=3)


def at_first_rung(*values: float, state: TrialState = TrialState.PRUNED) -> list[TrialRecord]:
    return [record(number, [value], state=state) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("others", "value", "pruned"),
    [
        ((), 0.0, False),  # the best of one
        ((0.5,), 0.4, True),
        ((0.5,), 0.5, False),  # as good as the best
        ((0.9, 0.8, 0.7, 0.6, 0.5), 0.75, True),  # third of 6, 2 go on
        ((0.9, 0.8, 0.7, 0.6, 0.5), 0.85, False),
        ((0.9, 0.8, 0.7, 0.6, 0.5), 0.8, False),
        ((0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), 0.75, True),  # 8 // 3 = 2
        ((0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2), 0.75, False),
    ],
)
def test_one_in_three_goes_on_from_a_rung(others: tuple[float, ...], value: float, *, pruned: bool) -> None:
    trial = running([value])
    assert bool(taught(ASHA, at_first_rung(*others)).prune_reason(trial)) is pruned
    down = [mirrored(each) for each in at_first_rung(*others)]
    assert bool(taught(ASHA, down, direction=Direction.MINIMIZE).prune_reason(mirrored(trial))) is pruned


@pytest.mark.parametrize("state", list(TrialState))
def test_all_that_reached_a_rung_count_whatever_became_of_them(state: TrialState) -> None:
    assert taught(ASHA, at_first_rung(0.5, state=state)).prune_reason(running([0.4])) != ""


@pytest.mark.parametrize(
    ("min_epochs", "factor", "rungs"), [(1, 3, [1, 3, 9, 27]), (2, 2, [2, 4, 8, 16]), (5, 4, [5, 20])]
)
def test_a_trial_is_judged_at_the_rungs_only(min_epochs: int, factor: int, rungs: list[int]) -> None:
    settings = AshaSettings(min_epochs=min_epochs, reduction_factor=factor)
    pruner = taught(settings, [record(0, [0.9] * 30, n_epochs=40)])
    judged = [n for n in range(31) if pruner.prune_reason(running([0.1] * n, n_epochs=40))]
    assert judged == rungs


def test_the_best_value_by_a_rung_counts() -> None:
    pruner = taught(ASHA, [record(0, [0.1, 0.6, 0.2])])
    assert pruner.prune_reason(running([0.1, 0.7, 0.1])) == ""
    assert pruner.prune_reason(running([0.1, 0.1, 0.5])) != ""


def test_an_epoch_that_was_trained_again_counts_as_it_came_out_last() -> None:
    pruner = taught(ASHA, [running([0.9], number=0), running([0.3], number=0)])
    assert pruner.prune_reason(running([0.4])) == ""
    assert taught(ASHA, [running([0.9], number=0)]).prune_reason(running([0.4])) != ""


def test_the_reasons_name_their_figures() -> None:
    reason = (
        "best 0.4 by epoch 1 is below that of 3 of the 6 other trials that reached that epoch; "
        "the best 2 of 7 go on (one in 3)"
    )
    others = at_first_rung(0.5, 0.6, 0.7, 0.1, 0.2, 0.3)
    assert taught(ASHA, others).prune_reason(running([0.4])) == reason
    # Nine epochs have three brackets.
    everywhere = [record(number, [0.9] * 9, n_epochs=9) for number in range(60)]
    pruner = taught(HYPERBAND, everywhere)
    reasons = [pruner.prune_reason(running([0.1] * 3, number=number, n_epochs=9)) for number in range(60, 120)]
    assert {reason.rpartition("; ")[2] for reason in reasons if reason} == {"bracket 1 of 3", "bracket 2 of 3"}


def improving(draw: random.Random, n_epochs: int, direction: Direction) -> list[float]:
    steps = [round(draw.random(), draw.choice([1, 15])) for _ in range(n_epochs)]
    return [direction.sign * value for value in accumulate(steps)]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("name", ["asha", "hyperband"])
@pytest.mark.parametrize(("min_epochs", "factor", "most"), [(1, 3, 9), (1, 2, 8), (2, 2, 8), (1, 4, 6)])
def test_verdicts_on_curves_that_improve_are_those_of_optunas_pruners(
    name: str, direction: Direction, min_epochs: int, factor: int, most: int
) -> None:
    """Several trials at a time, each in its turn, as with asynchronous workers."""
    draw = random.Random(f"{name}{direction}{min_epochs}{factor}")
    theirs = (
        SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)
        if name == "asha"
        else HyperbandPruner(min_resource=min_epochs, max_resource=most, reduction_factor=factor)
    )
    settings: PrunerSettings = (AshaSettings if name == "asha" else HyperbandSettings)(
        min_epochs=min_epochs, reduction_factor=factor
    )
    ours = named_pruner(settings, objective=objective(direction), space=SPACE)
    study = optuna_study(direction, theirs)
    flights: list[tuple[optuna.Trial, list[float], int]] = []
    verdicts: Counter[bool] = Counter()
    for _ in range(120):
        while len(flights) < 5:
            flights.append((study.ask(), improving(draw, most, direction), 0))
        trial, curve, n_epochs = flights.pop(draw.randrange(5))
        n_epochs += 1
        trial.report(curve[n_epochs - 1], n_epochs)
        now = running(curve[:n_epochs], number=trial.number, n_epochs=most)
        ours.learn(now)
        if n_epochs == most:  # Optuna would judge it even now
            trial.should_prune()
            study.tell(trial, curve[-1])
            continue
        expected = trial.should_prune()
        verdicts[expected] += 1
        assert bool(ours.prune_reason(now)) is expected
        if expected:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            flights.append((trial, curve, n_epochs))
    assert min(verdicts[True], verdicts[False]) > 3


def brackets(settings: HyperbandSettings, n_epochs: int, *, n_trials: int = 800) -> Counter[int]:
    """Return how many trials are first judged at which epoch, 0 for never."""
    firsts: Counter[int] = Counter()
    best = taught(settings, [record(10_000 + n, [1.0] * n_epochs, n_epochs=n_epochs) for n in range(60)])
    for number in range(n_trials):
        epochs = range(1, n_epochs)
        judged = (n for n in epochs if best.prune_reason(running([0.0] * n, number=number, n_epochs=n_epochs)))
        firsts[next(judged, 0)] += 1
    return firsts


def test_brackets_have_hyperbands_shares() -> None:
    counts = brackets(HYPERBAND, 9)
    shares = {1: math.ceil(3 * 9 / 3), 3: math.ceil(3 * 3 / 2), 0: 3}  # the last bracket's first rung is its end
    for first, share in shares.items():
        assert counts[first] / 800 == pytest.approx(share / sum(shares.values()), abs=0.04)
    assert set(counts) == set(shares)


def test_too_few_epochs_for_a_second_rung_are_one_bracket() -> None:
    assert set(brackets(HYPERBAND, 2, n_trials=50)) == {1}
    assert set(brackets(HyperbandSettings(min_epochs=5, reduction_factor=3), 2, n_trials=50)) == {0}


def test_trials_of_one_bracket_are_compared_among_themselves() -> None:
    firsts = {n: brackets_of(n) for n in range(40)}
    early = [n for n, first in firsts.items() if first == 1]
    late = [n for n, first in firsts.items() if first == 3]
    assert early
    assert late
    # Judged at epoch 3 both, but beside other trials.
    pruner = taught(HYPERBAND, [record(n, [0.9] * 3, n_epochs=9) for n in early])
    assert pruner.prune_reason(running([0.9, 0.9, 0.1], number=late[0], n_epochs=9)) == ""
    pruner.learn(record(late[1], [0.9] * 3, n_epochs=9))
    assert pruner.prune_reason(running([0.1, 0.1, 0.1], number=late[0], n_epochs=9)) != ""


def brackets_of(number: int) -> int:
    best = taught(HYPERBAND, [record(10_000 + n, [1.0] * 9, n_epochs=9) for n in range(60)])
    judged = (n for n in range(1, 9) if best.prune_reason(running([0.0] * n, number=number, n_epochs=9)))
    return next(judged, 0)
