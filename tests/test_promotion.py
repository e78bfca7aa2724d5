"""The pure part of promotion: which trial a stage continues, and that it and its continuation count once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import BELL, study
from trial_curves import taught

from search.comparable_rewards import ComparableRewards, comparable_observations
from search.errors import StudyDefinitionError
from search.promotion import Shortlist, may_be_promoted, n_to_come
from search.pruner_settings import AshaSettings, MedianSettings
from search.reward import score
from search.search_space import SearchSpace
from search.study_definition import Direction, StudyDefinition
from search.study_file import definition_from_plain
from search.trial import EpochRecord, FinishedTrial, TrialRecord, TrialState

STAGES = [
    {"name": "coarse", "n_trials": 8, "max_epochs": 2},
    {"name": "medium", "n_trials": 4, "max_epochs": 4, "promote": 2},
    {"name": "fine", "n_trials": 4, "max_epochs": 8, "promote": 3},
]
DEFINITION = definition_from_plain({**BELL, "stages": STAGES})


def finished(
    number: int,
    curve: Sequence[float],
    *,
    state: TrialState = TrialState.COMPLETE,
    continued: TrialRecord | None = None,
    definition: StudyDefinition = DEFINITION,
) -> FinishedTrial:
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="coarse",
        hyperparameters={"model.learning_rate": 1e-3},
        seed=number,
        n_epochs=len(curve),
        horizon_epochs=8,
        epochs=tuple(
            EpochRecord(epoch=epoch, metrics={"val_acc": value, "gap_acc": 0.0}, time_ms=0)
            for epoch, value in enumerate(curve, start=1)
        ),
        state=state,
        started_ms=0,
        finished_ms=1,
        continues="" if continued is None else continued.key,
        n_taken_over=0 if continued is None else len(continued.epochs),
    )
    return FinishedTrial(record=record, score=score(record, definition.objective))


def rising(n_epochs: int, *, best: float) -> list[float]:
    return [best * epoch / n_epochs for epoch in range(1, n_epochs + 1)]


@pytest.mark.parametrize("state", sorted(set(TrialState) - {TrialState.RUNNING, TrialState.INTERRUPTED}))
def test_only_a_trial_that_had_all_its_epochs_is_promoted(state: TrialState) -> None:
    trial = finished(0, [0.5, 0.6], state=state)
    assert may_be_promoted(trial, DEFINITION) is (state is TrialState.COMPLETE)


def test_a_trial_that_would_be_stopped_at_once_is_not_promoted() -> None:
    patient = replace(DEFINITION, early_stopping=None)
    hasty = definition_from_plain({**BELL, "stages": STAGES, "early_stopping": {"patience_epochs": 2}})
    flat, moving = finished(0, [0.5, 0.4, 0.3]), finished(1, [0.5, 0.4, 0.6])
    assert [may_be_promoted(each, patient) for each in (flat, moving)] == [True, True]
    assert [may_be_promoted(each, hasty) for each in (flat, moving)] == [False, True]


@pytest.mark.parametrize(
    ("begun", "index", "n_epochs", "expected"),
    [
        ({}, 0, 2, 5),
        ({}, 0, 4, 3),
        ({}, 0, 8, 0),
        ({"medium": 1}, 1, 2, 4),
        ({"medium": 1}, 2, 2, 3),  # what a stage has left is lost when the next one opens
        ({"medium": 2, "fine": 3}, 2, 2, 0),
        ({"fine": 5}, 2, 2, 0),  # the study file was edited since
    ],
)
def test_promotions_to_come(begun: dict[str, int], index: int, n_epochs: int, expected: int) -> None:
    assert n_to_come(DEFINITION.stages, begun, index=index, n_epochs=n_epochs) == expected


trials = st.lists(st.tuples(st.sampled_from([2, 4]), st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=12).map(
    lambda drawn: [finished(number, rising(n, best=best)) for number, (n, best) in enumerate(drawn)]
)


@given(pool=trials, capacity=st.integers(0, 4), direction=st.sampled_from(Direction), gain=st.floats(-0.5, 0.5))
def test_a_shortlist_loses_nothing_that_may_be_chosen(
    pool: list[FinishedTrial], capacity: int, direction: Direction, gain: float
) -> None:
    """Whatever longer trials turn out to gain, as many as there is room for are chosen as if all were there."""

    def comparable(number: int) -> float:
        trial = pool[number]
        assert trial.score is not None
        return trial.score.reward + (gain if len(trial.record.epochs) == 2 else 0.0)

    shortlist = Shortlist(direction.sign)
    for trial in pool:
        shortlist.add(trial)
        shortlist.cut(lambda n_epochs: capacity)
    expected = sorted(range(len(pool)), key=lambda number: (-direction.sign * comparable(number), number))
    for number in expected[:capacity]:
        best = shortlist.best(comparable, below_epochs=8)
        assert best is pool[number]
        assert best.record.key in shortlist.keys
        shortlist.drop(best.record.key)
    assert shortlist.best(comparable, below_epochs=2) is None


curves = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)


@given(
    shared=curves,
    more=curves,
    others=st.lists(curves, max_size=5),
    state=st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED]),
)
def test_a_trial_and_its_continuation_are_one_observation(
    shared: list[float], more: list[float], others: list[list[float]], state: TrialState
) -> None:
    around = [finished(number, curve) for number, curve in enumerate(others)]
    short = finished(len(others), shared)
    long = finished(len(others) + 1, [*shared, *more], state=state, continued=short.record)
    both = comparable_observations([long, *around, short], objective=DEFINITION.objective)
    alone = comparable_observations([*around, long], objective=DEFINITION.objective)
    assert both == (*alone[:-1], replace(alone[-1], first_tried=(len(others), short.record.stage)))
    rewards = ComparableRewards(DEFINITION.objective)
    box: SearchSpace = DEFINITION.space
    for trial in (*around, short):
        rewards.add(trial)
        assert rewards.n_inside(box) == len(rewards.observations())
    assert rewards.observations()[-1].number == short.record.number
    rewards.add(long)
    assert rewards.observations() == rewards.informative(box, at_most=100) == both
    assert math.isclose(rewards.comparable(len(others) + 1), both[-1].reward)


def test_the_short_trial_stays_an_observation_if_its_continuation_tells_less() -> None:
    short = finished(0, [0.5, 0.6])
    failed = finished(1, [0.5, 0.6], state=TrialState.FAILED, continued=short.record)
    assert failed.score is None
    anew = finished(1, [0.5], state=TrialState.PRUNED, continued=replace(short.record, epochs=()))
    out_of_budget = finished(1, [0.5, 0.6, 0.7], state=TrialState.STOPPED, continued=short.record)
    for later in (failed, anew, out_of_budget):
        observed = comparable_observations([short, later], objective=DEFINITION.objective)
        assert [each.number for each in observed] == [0]


def test_a_diverged_continuation_is_what_is_known_of_its_hyperparameters() -> None:
    other, short = finished(0, [0.1, 0.2]), finished(1, [0.5, 0.6])
    diverged = finished(2, [0.5, 0.6, math.nan], state=TrialState.DIVERGED, continued=short.record)
    observed = comparable_observations([other, short, diverged], objective=DEFINITION.objective)
    assert [(each.number, each.diverged) for each in observed] == [(0, False), (2, True)]


@given(lengths=st.lists(st.integers(1, 3), min_size=1, max_size=3), n_startup=st.integers(1, 3))
def test_a_trial_and_its_continuations_are_one_peer(lengths: list[int], n_startup: int) -> None:
    settings = MedianSettings(n_startup_trials=n_startup, n_warmup_epochs=0)
    pruner, alone = (taught(settings, []) for _ in range(2))
    continued: TrialRecord | None = None
    for number, length in enumerate(accumulate(lengths)):
        continued = finished(number, [0.5] * length, continued=continued).record
        pruner.learn(continued)
    assert continued is not None
    alone.learn(replace(continued, continues="", n_taken_over=0))
    for n_epochs in range(1, sum(lengths) + 2):
        bad = replace(finished(9, [0.1] * n_epochs).record, n_epochs=99, state=TrialState.RUNNING)
        assert pruner.prune_reason(bad) == alone.prune_reason(bad)
    assert bool(alone.prune_reason(replace(finished(9, [0.1]).record, n_epochs=99))) is (n_startup == 1)


def test_a_trial_and_its_continuation_are_one_of_those_that_reached_a_rung() -> None:
    pruner = taught(AshaSettings(min_epochs=2, reduction_factor=2), [])
    short = finished(0, [0.5, 0.6]).record
    for record in (short, finished(1, [0.5, 0.6, 0.7], continued=short).record, finished(2, [0.1, 0.2]).record):
        pruner.learn(record)
    bad = replace(finished(3, [0.0, 0.1]).record, n_epochs=9, state=TrialState.RUNNING)
    assert "of 2 of the 2 other trials that reached that epoch" in pruner.prune_reason(bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule_horizon": "stage"}, r"must be 0 with `schedule_horizon: stage`.*, but got 2\."),
        ({"stages": [{**STAGES[1]}]}, r"must be 0 in the first stage.*, but got 2\."),
        (
            {"stages": [STAGES[0], {**STAGES[1], "max_epochs": 2}]},
            r"no earlier stage has fewer than this one's 2 epochs, but got 2\.",
        ),
        ({"stages": [STAGES[0], {**STAGES[1], "n_trials": 1}]}, r"must be at most n_trials = 1, but got 2\."),
    ],
)
def test_a_promotion_that_cannot_be_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyDefinitionError, match=message) as caught:
        study(**{"stages": STAGES, **changes})
    assert caught.value.key is not None and caught.value.key.endswith(".promote")
