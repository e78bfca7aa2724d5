from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.comparable_rewards import ComparableRewards, Observation, comparable_observations
from search.reward import score
from search.search_space import Dimension, LinearRange, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import EpochRecord, FinishedTrial, TrialRecord, TrialState

UP = Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0)
DOWN = Objective(monitor="val_acc", direction=Direction.MINIMIZE, gap_weight=0.0, gap_tolerance=0.0)


def trial(
    number: int | None,
    curve: list[float],
    *,
    state: TrialState = TrialState.COMPLETE,
    n_epochs: int | None = None,
    horizon: int = 100,
    objective: Objective = UP,
) -> FinishedTrial:
    record = TrialRecord(
        key=f"trial-{number}",
        number=number,
        stage="coarse",
        hyperparameters={"x": float(number or 0)},
        seed=0,
        n_epochs=n_epochs or len(curve),
        horizon_epochs=horizon,
        epochs=tuple(
            EpochRecord(epoch=epoch, metrics={objective.monitor: value}, time_ms=0)
            for epoch, value in enumerate(curve, start=1)
        ),
        state=state,
        started_ms=0,
        finished_ms=1,
    )
    return FinishedTrial(record=record, score=score(record, objective))


def rewards(*trials: FinishedTrial, objective: Objective = UP) -> dict[int, float]:
    return {each.number: each.reward for each in comparable_observations(trials, objective=objective)}


def test_a_short_trial_gets_the_median_gain_of_the_longest() -> None:
    long = [trial(1, [0.5, 0.6, 0.9]), trial(2, [0.4, 0.5, 0.6]), trial(3, [0.2, 0.7, 0.8])]
    result = rewards(trial(0, [0.3, 0.45]), *long)
    assert result[0] == pytest.approx(0.45 + 0.1)  # gains from 2 to 3 epochs: 0.3, 0.1, 0.1
    assert [result[number] for number in (1, 2, 3)] == [0.9, 0.6, 0.8]


def test_a_course_tells_of_half_the_way_where_it_is_the_beginning_of_the_longest_ones() -> None:
    found = comparable_observations(
        [trial(0, [0.1, 0.3, 0.2, 0.4, 0.5]), trial(1, [0.1, 0.3, 0.2], horizon=3), trial(2, [0.6])], objective=UP
    )
    assert [each.course for each in found] == [((2, 0.3), (5, 0.5)), ((3, 0.3),), ((1, 0.6),)]


def test_one_long_trial_is_compared_at_the_epoch_that_all_reached() -> None:
    """The first trial of a longer stage ranks where its own short beginning ranks."""
    result = rewards(trial(0, [0.5]), trial(1, [0.7]), trial(2, [0.6, 0.9]))
    assert result[0] < result[2] < result[1]


def test_nothing_longer_known_adds_nothing() -> None:
    assert rewards(trial(0, [0.5]), trial(1, [0.7]), trial(2, [0.1])) == {0: 0.5, 1: 0.7, 2: 0.1}


def test_trials_of_another_schedule_horizon_do_not_lend_their_gain() -> None:
    assert rewards(trial(0, [0.5], horizon=1), trial(1, [0.1, 0.9], horizon=2)) == {0: 0.5, 1: 0.9}


def test_a_trial_that_stopped_early_has_nothing_to_come_and_a_pruned_one_has() -> None:
    flat = trial(0, [0.5, 0.5], state=TrialState.STOPPED_EARLY, n_epochs=3)
    pruned = trial(1, [0.5, 0.5], state=TrialState.PRUNED, n_epochs=3)
    result = rewards(flat, pruned, trial(2, [0.5, 0.6, 0.7]), trial(3, [0.5, 0.6, 0.7]))
    assert result[0] == 0.5
    assert result[1] == pytest.approx(0.6)  # the flat trial's gain of 0 and twice 0.1


@pytest.mark.parametrize("objective", [UP, DOWN])
def test_diverged_trials_are_worse_than_all_by_a_margin_and_told_apart(objective: Objective) -> None:
    sign = objective.direction.sign
    observations = comparable_observations(
        [
            trial(2, [0.2], objective=objective),
            trial(1, [0.99, math.nan], state=TrialState.DIVERGED, objective=objective),
            trial(0, [0.8], objective=objective),
        ],
        objective=objective,
    )
    assert [each.number for each in observations] == [0, 1, 2]
    assert [each.diverged for each in observations] == [False, True, False]
    values = [sign * each.reward for each in observations]
    assert values[1] == pytest.approx(min(values[0], values[2]) - 0.6)


def test_diverged_alone_and_beside_equal_rewards() -> None:
    diverged = trial(0, [math.nan], state=TrialState.DIVERGED)
    assert rewards(diverged) == {0: 0.0}
    assert rewards(diverged, trial(1, [0.0]))[0] < 0.0


def test_what_continues_a_trial_tells_which_one_tried_its_configuration_first() -> None:
    chain = [trial(0, [0.1]), trial(2, [0.1, 0.2]), trial(3, [0.1, 0.2, 0.3])]
    chain = [
        replace(each, record=replace(each.record, stage=stage, continues=continues))
        for each, stage, continues in zip(chain, ("a", "b", "c"), ("", "trial-0", "trial-2"), strict=True)
    ]
    for upto, expected in ((1, None), (2, (0, "a")), (3, (0, "a"))):
        last = comparable_observations([trial(1, [0.5]), *chain[:upto]], objective=UP)[-1 if upto > 1 else 0]
        assert (last.stage, last.first_tried) == ("abc"[upto - 1], expected)


def test_failed_trials_and_runs_outside_the_search_teach_nothing() -> None:
    assert rewards(trial(0, [0.9], state=TrialState.FAILED), trial(None, [0.9]), trial(2, [0.1])) == {2: 0.1}


def test_failed_trials_count_as_diverged_for_whom_is_told_of_them() -> None:
    known = ComparableRewards(UP)
    for number in range(20):
        known.add(trial(number, [number / 20.0], state=TrialState.FAILED if number % 2 else TrialState.COMPLETE))
    failed = [number for number in range(20) if number % 2]
    space = SearchSpace(
        dimensions=(Dimension(name="x", range=LinearRange(low=4.0, high=19.0), limits=LinearRange(low=4.0, high=19.0)),)
    )
    told = known.informative(space, at_most=99, failed=failed)
    assert [each.number for each in told] == list(range(4, 20))
    assert [each.number for each in told if each.diverged] == failed[2:]
    assert max(each.reward for each in told if each.diverged) < 0.0
    few = known.informative(space, at_most=8, failed=failed)
    assert len(few) == 8
    assert [each.number for each in few if each.diverged] == [19]


def test_an_observation_must_be_finite() -> None:
    with pytest.raises(AssertionError):
        Observation(number=0, stage="coarse", hyperparameters={}, reward=math.inf)


curves = st.lists(st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=5), min_size=1, max_size=8)


@given(curves)
def test_order_among_equally_long_trials_never_changes(values: list[list[float]]) -> None:
    result = rewards(*(trial(number, curve) for number, curve in enumerate(values)))
    for (a, first), (b, second) in itertools.combinations(enumerate(values), 2):
        if len(first) == len(second):
            assert (max(first) - max(second)) * (result[a] - result[b]) >= 0.0


@given(curves)
def test_reaching_as_much_in_fewer_epochs_is_never_worse(values: list[list[float]]) -> None:
    result = rewards(*(trial(number, curve) for number, curve in enumerate(values)))
    for (a, first), (b, second) in itertools.permutations(enumerate(values), 2):
        if len(first) <= len(second) and max(first) >= max(second):
            assert result[a] >= result[b] - 1e-12


@given(curves, st.randoms(use_true_random=False), st.integers(-3, 3))
def test_the_order_of_trials_does_not_matter_and_an_offset_only_shifts(
    values: list[list[float]], random: object, offset: int
) -> None:
    trials = [trial(number, curve) for number, curve in enumerate(values)]
    result = rewards(*trials)
    shuffled = list(trials)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rewards(*shuffled) == result
    moved = rewards(*(trial(number, [v + offset for v in curve]) for number, curve in enumerate(values)))
    assert moved == pytest.approx({number: reward + offset for number, reward in result.items()}, abs=1e-9)


@given(curves)
def test_what_grew_trial_by_trial_is_what_is_made_at_once(values: list[list[float]]) -> None:
    trials = [trial(number, curve) for number, curve in enumerate(values)]
    growing = ComparableRewards(UP)
    for n_added, each in enumerate(trials, start=1):
        growing.add(each)
        assert growing.observations() == comparable_observations(trials[:n_added], objective=UP)


BOX = SearchSpace(
    dimensions=(Dimension(name="x", range=LinearRange(low=0.0, high=20.0), limits=LinearRange(low=0.0, high=100.0)),)
)


sixteenths = st.integers(0, 16).map(lambda n: n / 16)  # exact sums: rewards that differ stay different


@given(st.lists(st.tuples(st.integers(1, 3), sixteenths), min_size=1, max_size=60), st.integers(2, 40))
def test_an_excerpt_is_the_first_the_best_and_the_most_recent_inside_the_box(
    drawn: list[tuple[int, float]], at_most: int
) -> None:
    rewards = ComparableRewards(UP)
    for number, (n_epochs, value) in enumerate(drawn):
        diverged = value > 0.9
        curve = [value * (epoch + 1) for epoch in range(n_epochs)]
        rewards.add(trial(number, curve, state=TrialState.DIVERGED if diverged else TrialState.COMPLETE))
        inside = [each for each in rewards.observations() if BOX.contains(each.hyperparameters)]
        excerpt = rewards.informative(BOX, at_most=at_most)
        assert rewards.n_inside(BOX) == len(inside)
        if len(inside) <= at_most:
            assert list(excerpt) == inside
            continue
        finite = [each for each in inside if not each.diverged]
        best = sorted(finite, key=lambda each: (-each.reward, each.number))[: at_most // 2]
        chosen = [each for each in inside if each in best or each in inside[: at_most // 16]]
        others = [each for each in inside if each not in chosen]
        expected = [*chosen, *others[len(others) - (at_most - len(chosen)) :]]
        assert len(excerpt) == at_most
        assert sorted(each.reward for each in excerpt) == pytest.approx(sorted(each.reward for each in expected))
        assert excerpt == tuple(sorted(excerpt, key=lambda each: each.number))


def test_an_excerpt_has_the_first_ones_however_bad_they_are() -> None:
    rewards = ComparableRewards(UP)
    for number in range(80):
        rewards.add(trial(number, [float(number)]))
    whole = SearchSpace(dimensions=tuple(replace(each, range=each.limits) for each in BOX))
    numbers = [each.number for each in rewards.informative(whole, at_most=32)]
    assert numbers == [0, 1, *range(50, 80)]


@given(curves)
def test_the_two_directions_mirror_each_other(values: list[list[float]]) -> None:
    up = rewards(*(trial(number, curve) for number, curve in enumerate(values)))
    mirrored = [trial(number, [-value for value in curve], objective=DOWN) for number, curve in enumerate(values)]
    assert rewards(*mirrored, objective=DOWN) == pytest.approx({number: -reward for number, reward in up.items()})
