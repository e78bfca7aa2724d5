from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.reward import best_epoch, penalized, score
from search.study_definition import Direction, Objective
from search.trial import EpochRecord, TrialRecord, TrialState

NAN, INF = math.nan, math.inf
ACC = Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.5, gap_tolerance=0.02)
LOSS = Objective(monitor="val_loss", direction=Direction.MINIMIZE, gap_weight=2.0, gap_tolerance=0.1)
finite = st.floats(-10.0, 10.0)


def record(
    values: Sequence[float],
    gaps: Sequence[float] = (),
    *,
    objective: Objective = ACC,
    state: TrialState = TrialState.COMPLETE,
) -> TrialRecord:
    gap_metric = {"val_acc": "gap_acc", "val_loss": "gap_loss"}[objective.monitor]
    epochs = tuple(
        EpochRecord(
            epoch=index + 1,
            metrics={objective.monitor: value, **({gap_metric: gaps[index]} if index < len(gaps) else {})},
            time_ms=0,
        )
        for index, value in enumerate(values)
    )
    return TrialRecord(
        key="trial-0000",
        number=0,
        stage="coarse",
        hyperparameters={},
        seed=0,
        n_epochs=max(len(values), 1),
        horizon_epochs=max(len(values), 1),
        epochs=epochs,
        state=state,
        started_ms=0,
    )


@pytest.mark.parametrize(
    ("values", "gaps", "objective", "reward", "epoch", "gap"),
    [
        ([0.5, 0.9, 0.8], [0.0, 0.12, 0.5], ACC, 0.9 - 0.5 * 0.10, 2, 0.12),
        ([0.5, 0.9, 0.9], [0.0, 0.01, 0.5], ACC, 0.9, 2, 0.01),  # the first of equal epochs; within the tolerance
        ([0.9], [-0.3], ACC, 0.9, 1, -0.3),  # better on validation than on train costs nothing
        ([1.0, 0.4, 0.6], [0.0, 0.3, 0.0], LOSS, 0.4 + 2.0 * 0.2, 2, 0.3),
        ([NAN, 0.7, INF], [0.0, 0.0, 0.0], ACC, 0.7, 2, 0.0),
        ([-INF, 0.7, NAN], [0.0, 0.0, 0.0], LOSS, 0.7, 2, 0.0),
    ],
)
def test_score_takes_metric_and_gap_at_the_best_epoch(
    values: list[float], gaps: list[float], objective: Objective, reward: float, epoch: int, gap: float
) -> None:
    result = score(record(values, gaps, objective=objective), objective)
    assert result is not None
    assert result.reward == pytest.approx(reward)
    assert (result.best_value, result.best_epoch, result.gap_at_best) == (values[epoch - 1], epoch, gap)


def test_an_unknown_gap_costs_nothing_and_stays_unknown() -> None:
    result = score(record([0.9]), ACC)
    assert result is not None
    assert result.reward == 0.9
    assert math.isnan(result.gap_at_best)


@pytest.mark.parametrize("objective", [ACC, LOSS])
def test_a_diverged_trial_gets_the_worst_reward_whatever_it_reached_before(objective: Objective) -> None:
    result = score(record([0.9, NAN], [0.0, NAN], objective=objective, state=TrialState.DIVERGED), objective)
    assert result is not None
    assert result.reward == objective.direction.worst
    assert (result.best_value, result.best_epoch) == (0.9, 1)


@pytest.mark.parametrize("state", list(TrialState))
@pytest.mark.parametrize("values", [(), (NAN, INF)], ids=["no epochs", "nothing finite"])
def test_without_a_finite_value_a_finished_trial_is_worst_and_a_live_one_has_no_score(
    values: tuple[float, ...], state: TrialState
) -> None:
    result = score(record(values, state=state), ACC)
    if state in (TrialState.FAILED, TrialState.STOPPED) or not state.is_finished:
        assert result is None
        return
    assert result is not None
    assert result.reward == -INF
    assert math.isnan(result.best_value)
    assert result.best_epoch == 0


def test_a_failed_trial_has_no_score_even_with_epochs() -> None:
    assert score(record([0.9], [0.0], state=TrialState.FAILED), ACC) is None


@given(value=finite, gap=finite, weight=st.floats(0.0, 10.0), tolerance=st.floats(0.0, 1.0))
def test_the_penalty_never_helps_and_grows_with_the_gap(
    value: float, gap: float, weight: float, tolerance: float
) -> None:
    for direction in Direction:
        objective = Objective(monitor="val_acc", direction=direction, gap_weight=weight, gap_tolerance=tolerance)
        reward = penalized(value, gap, objective)
        assert direction.sign * reward <= direction.sign * value
        assert direction.sign * penalized(value, gap + 1.0, objective) <= direction.sign * reward
        assert gap > tolerance or reward == value


@given(st.lists(finite | st.sampled_from([NAN, INF, -INF]), max_size=12))
def test_the_two_directions_mirror_each_other(values: list[float]) -> None:
    mirrored = tuple(-value for value in values)
    assert best_epoch(tuple(values), Direction.MAXIMIZE) == best_epoch(mirrored, Direction.MINIMIZE)
