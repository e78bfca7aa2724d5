from __future__ import annotations

import math
import random
import warnings

import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search.errors import StudyDefinitionError
from search.pruning import TrialPruner
from search.study_definition import Direction, PrunerSettings
from search.trial import EpochRecord, TrialRecord, TrialState

NAN = math.nan


def record(
    key: str,
    curve: list[float],
    *,
    state: TrialState = TrialState.COMPLETE,
    n_epochs: int = 10,
    horizon: int = 10,
) -> TrialRecord:
    return TrialRecord(
        key=key,
        number=0,
        stage="coarse",
        hyperparameters={},
        seed=0,
        n_epochs=n_epochs,
        horizon_epochs=horizon,
        epochs=tuple(
            EpochRecord(epoch=epoch, metrics={"val_acc": value}, time_ms=0)
            for epoch, value in enumerate(curve, start=1)
        ),
        state=state,
        started_ms=0,
    )


def running(curve: list[float], **options: int) -> TrialRecord:
    return record("trial-now", curve, state=TrialState.RUNNING, **options)


def pruner(
    *, name: str = "median", startup: int = 2, warmup: int = 0, direction: Direction = Direction.MAXIMIZE
) -> TrialPruner:
    settings = PrunerSettings(name=name, n_startup_trials=startup, n_warmup_epochs=warmup)
    return TrialPruner(settings, monitor="val_acc", direction=direction)


PEERS = [record("a", [0.2, 0.4, 0.5]), record("b", [0.3, 0.6, 0.6]), record("c", [0.4, 0.8, 0.9])]


def taught(peers: list[TrialRecord] = PEERS, **options: object) -> TrialPruner:
    result = pruner(**options)  # type: ignore[arg-type]
    for peer in peers:
        result.learn(peer)
    return result


@pytest.mark.parametrize(
    ("curve", "pruned"),
    [
        ([0.29], True),
        ([0.30], False),  # not worse than the median
        ([0.1, 0.7], False),
        ([0.1, 0.5], True),
        ([0.7, 0.1], False),  # its best so far counts, not its last value
        ([0.1, 0.1, 0.1, 0.1], False),  # no peer got that far
        ([0.1, NAN], False),  # divergence is somebody else's verdict
        ([], False),
    ],
)
def test_a_trial_below_the_median_at_its_epoch_is_pruned(curve: list[float], *, pruned: bool) -> None:
    assert bool(taught().prune_reason(running(curve))) is pruned
    mirrored = [record(peer.key, [-value for value in peer.curve("val_acc")]) for peer in PEERS]
    down = taught(mirrored, direction=Direction.MINIMIZE)
    assert bool(down.prune_reason(running([-value for value in curve]))) is pruned


def test_the_reason_names_its_figures() -> None:
    assert taught().prune_reason(running([0.1, 0.5])) == (
        "best 0.5 by epoch 2 is below 0.6, the median of 3 finished trials at that epoch"
    )


def test_none_never_prunes() -> None:
    assert taught(name="none").prune_reason(running([0.0])) == ""


def test_only_trials_of_the_same_horizon_are_compared() -> None:
    assert taught().prune_reason(running([0.0], horizon=20)) == ""


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED])
def test_only_trials_that_ran_to_their_end_are_peers(state: TrialState) -> None:
    peers = [record(peer.key, list(peer.curve("val_acc")), state=state) for peer in PEERS]
    assert taught(peers).prune_reason(running([0.0])) == ""
    early = [record(peer.key, list(peer.curve("val_acc")), state=TrialState.STOPPED_EARLY) for peer in PEERS]
    assert taught(early).prune_reason(running([0.0])) != ""


def test_start_up_asks_for_enough_peers_at_that_very_epoch() -> None:
    peers = [*PEERS, record("d", [0.5, 0.5, 0.5, 0.9])]
    assert taught(peers).prune_reason(running([0.0, 0.0, 0.0])) != ""
    assert taught(peers).prune_reason(running([0.0, 0.0, 0.0, 0.0])) == ""
    assert taught(startup=4).prune_reason(running([0.0])) == ""
    assert pruner(startup=0).prune_reason(running([0.0])) == ""


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_warm_up_spares_that_many_epochs(warmup: int) -> None:
    judged = [bool(taught(warmup=warmup).prune_reason(running([0.0] * n))) for n in (1, 2, 3)]
    assert judged == [n > warmup for n in (1, 2, 3)]


def test_a_trial_in_its_last_epoch_is_left_alone() -> None:
    assert taught().prune_reason(running([0.0, 0.0], n_epochs=2)) == ""


def test_the_verdict_depends_on_the_set_of_peers_alone() -> None:
    shuffler = random.Random(0)
    peers = [record(f"p{i}", [shuffler.random() for _ in range(5)]) for i in range(9)]
    trials = [running([shuffler.random() * 0.7 for _ in range(n)]) for n in (1, 2, 3, 4, 5) for _ in range(5)]
    expected = [taught(peers).prune_reason(trial) for trial in trials]
    assert len({bool(reason) for reason in expected}) == 2
    shuffled = [*peers, *peers[:4]]  # some of them learned twice
    shuffler.shuffle(shuffled)
    assert [taught(shuffled).prune_reason(trial) for trial in trials] == expected


@pytest.mark.parametrize("direction", list(Direction))
def test_verdicts_are_those_of_optunas_median_pruner(direction: Direction) -> None:
    draw = random.Random(7)
    judged: set[bool] = set()
    for _ in range(60):
        startup, warmup = draw.randrange(5), draw.randrange(3)
        ours = pruner(startup=startup, warmup=warmup, direction=direction)
        theirs = MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1, n_min_trials=max(startup, 1))
        study = optuna.create_study(direction=direction.value)
        for number in range(draw.randrange(1, 9)):
            curve = [round(draw.random(), draw.choice([1, 15])) for _ in range(draw.randrange(1, 6))]
            ours.learn(record(f"peer-{number}", curve))
            values = dict(enumerate(curve, start=1))
            study.add_trial(create_trial(value=curve[-1], intermediate_values=values))
        for _ in range(5):
            curve = [round(draw.random(), draw.choice([1, 15])) for _ in range(draw.randrange(1, 6))]
            trial = create_trial(state=OptunaState.RUNNING, intermediate_values=dict(enumerate(curve, start=1)))
            expected = bool(theirs.prune(study, trial))
            assert bool(ours.prune_reason(running(curve))) is expected
            judged.add(expected)
    assert judged == {True, False}


def test_holes_in_curves_raise_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge = taught([*PEERS, record("holes", [NAN, math.inf, 0.9]), record("nothing", [NAN])])
        assert judge.prune_reason(running([NAN, NAN])) == ""
        assert judge.prune_reason(running([NAN, 0.1])).endswith("median of 3 finished trials at that epoch")


def test_an_unknown_pruner_is_refused_with_the_name_that_is_close() -> None:
    with pytest.raises(StudyDefinitionError, match="Did you mean 'median'"):
        pruner(name="medain")
