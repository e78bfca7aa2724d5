from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import PercentilePruner
from optuna.trial import TrialState as OptunaState
from trial_curves import as_optuna, mirrored, optuna_study, random_curve, record, running, taught

from search.pruner_settings import MedianSettings, PercentileSettings, PrunerSettings
from search.pruning.percentile import quantile
from search.study_definition import Direction
from search.trial import TrialState

NAN = math.nan
PEERS = [record(0, [0.2, 0.4, 0.5]), record(1, [0.3, 0.6, 0.6]), record(2, [0.4, 0.8, 0.9])]


def settings(*, name: str = "median", startup: int = 2, warmup: int = 0, percentile: float = 50.0) -> PrunerSettings:
    if name == "median":
        return MedianSettings(n_startup_trials=startup, n_warmup_epochs=warmup)
    return PercentileSettings(percentile=percentile, n_startup_trials=startup, n_warmup_epochs=warmup)


@pytest.mark.parametrize(
    ("curve", "pruned"),
    [
        ([0.29], True),
        ([0.30], False),  # not worse than the median
        ([0.1, 0.7], False),
        ([0.1, 0.5], True),
        ([0.7, 0.1], False),  # its best so far counts, not its last value
        ([0.1, 0.1, 0.1, 0.1], False),  # no peer got that far
        ([0.1, NAN], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("name", ["median", "percentile"])
def test_a_trial_below_the_median_at_its_epoch_is_pruned(name: str, curve: list[float], *, pruned: bool) -> None:
    trial = running(curve)
    assert bool(taught(settings(name=name), PEERS).prune_reason(trial)) is pruned
    down = taught(settings(name=name), [mirrored(peer) for peer in PEERS], direction=Direction.MINIMIZE)
    assert bool(down.prune_reason(mirrored(trial))) is pruned


def test_the_reasons_name_their_figures() -> None:
    assert taught(settings(), PEERS).prune_reason(running([0.1, 0.5])) == (
        "best 0.5 by epoch 2 is below 0.6, the median of 3 finished trials at that epoch"
    )
    assert taught(settings(name="percentile", percentile=25.0), PEERS).prune_reason(running([0.1, 0.5])) == (
        "best 0.5 by epoch 2 is below 0.7, where the best 25 % of 3 finished trials at that epoch begin"
    )


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.RUNNING])
def test_only_trials_that_ran_to_their_end_are_peers(state: TrialState) -> None:
    peers = [record(number, [0.5], state=state) for number in range(3)]
    assert taught(settings(), peers).prune_reason(running([0.0])) == ""
    early = [record(number, [0.5], state=TrialState.STOPPED_EARLY) for number in range(3)]
    assert taught(settings(), early).prune_reason(running([0.0])) != ""


def test_start_up_asks_for_enough_peers_at_that_very_epoch() -> None:
    peers = [*PEERS, record(3, [0.5, 0.5, 0.5, 0.9])]
    assert taught(settings(), peers).prune_reason(running([0.0, 0.0, 0.0])) != ""
    assert taught(settings(), peers).prune_reason(running([0.0, 0.0, 0.0, 0.0])) == ""
    assert taught(settings(startup=4), PEERS).prune_reason(running([0.0])) == ""
    assert taught(settings(startup=0), []).prune_reason(running([0.0])) == ""


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_warm_up_spares_that_many_epochs(warmup: int) -> None:
    pruner = taught(settings(warmup=warmup), PEERS)
    assert [bool(pruner.prune_reason(running([0.0] * n))) for n in (1, 2, 3)] == [n > warmup for n in (1, 2, 3)]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("name", ["median", "percentile"])
def test_verdicts_are_those_of_optunas_pruners(name: str, direction: Direction) -> None:
    draw = random.Random(7)
    judged: set[bool] = set()
    for _ in range(40):
        startup, warmup = draw.randrange(5), draw.randrange(3)
        percentile = 50.0 if name == "median" else draw.choice([0.0, 10.0, 25.0, 33.3, 75.0, 100.0])
        # Optuna's median rule is its percentile rule at 50.
        theirs = PercentilePruner(
            percentile, n_startup_trials=startup, n_warmup_steps=warmup + 1, n_min_trials=max(startup, 1)
        )
        curves = [random_curve(draw, at_most=5) for _ in range(draw.randrange(1, 9))]
        ours = taught(
            settings(name=name, startup=startup, warmup=warmup, percentile=percentile),
            [record(number, curve) for number, curve in enumerate(curves)],
            direction=direction,
        )
        study = optuna_study(direction)
        study.add_trials([as_optuna(curve) for curve in curves])
        for _ in range(5):
            curve = random_curve(draw, at_most=5)
            expected = bool(theirs.prune(study, as_optuna(curve, OptunaState.RUNNING)))
            assert bool(ours.prune_reason(running(curve))) is expected
            judged.add(expected)
    assert judged == {True, False}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0.0, 1.0))
def test_a_quantile_is_numpys(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(np.quantile(values, share), rel=1e-12, abs=1e-9)
