"""Whole studies whose trials a bandit spends: what is chosen, recorded, shown, and chosen again after a kill."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import BELL
from rich.console import Console
from study_runs import Listener, run_session
from suggestions import suggestion
from virtual_engine import Faults, KilledError, VirtualEngine

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from search.cli.rows import trial_columns, trial_row
from search.cli.status import status_plain, status_report
from search.cli.trials_table import trials_table
from search.comparable_rewards import Observation
from search.coordinator.stores import default_storage
from search.epoch_log import read_epoch_log
from search.paths import StateDirectory
from search.portfolio import CONTINUE, EXPLORE, REFINE, SAMPLERS, accounts, possible_actions, spendings
from search.promotion import MOST_PAUSED, PausedTrials, is_paused
from search.samplers.appraisal import belief_figures
from search.sampling.continuation import most_promising
from search.search_space import Choices, Dimension, LinearRange, LogRange, SearchSpace
from search.storage import StudyStore
from search.study_definition import Direction, Objective, StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import ScoredTrial, StudyRecord
from search.tracking.study_rows import portfolio_rows
from search.tracking.trial_rows import identity_tags
from search.trial import EpochRecord, FinishedTrial, Score, TrialRecord, TrialState

RATE = "model.learning_rate"
KIND = Dimension(name="kind", range=Choices(values=("a", "b", "c")), limits=Choices(values=("a", "b", "c")))
WIDTH = Dimension(name="width", range=LogRange(low=1e-4, high=1.0), limits=LogRange(low=1e-4, high=1.0))
BOX = SearchSpace(dimensions=(KIND, WIDTH))
UNIT = LinearRange(low=0.0, high=1.0)


def study(*, n_trials: int = 20, **changes: Any) -> StudyDefinition:
    stages = [
        {"name": "coarse", "n_trials": 12, "max_epochs": 1, "sampler": "qmc"},
        {"name": "fine", "n_trials": n_trials, "max_epochs": 3, "sampler": "portfolio"},
    ]
    return definition_from_plain({**BELL, "study": "bell", "stages": stages, "narrow": "quantile_box", **changes})


def finished(number: int, reward: float, *, action: str = "", state: TrialState = TrialState.COMPLETE) -> FinishedTrial:
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="fine",
        hyperparameters={"width": 0.1},
        seed=number,
        n_epochs=3,
        horizon_epochs=3,
        epochs=tuple(EpochRecord(epoch=n, metrics={"val_acc": reward}, time_ms=n) for n in (1, 2, 3)),
        state=state,
        started_ms=0,
        finished_ms=4,
        action=action,
    )
    score = Score(reward=reward, best_value=reward, best_epoch=1, gap_at_best=0.0)
    return FinishedTrial(record=record, score=None if state is TrialState.FAILED else score)


OBJECTIVE = Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0)
REWARDS = (0.1, 0.1, 0.2, 0.9)


# ---- what there is to choose from, and what it is paid by -----------------------------------------------------------


def test_what_is_impossible_is_left_out() -> None:
    every = possible_actions(BOX, can_explore=True, can_continue=True)
    assert every == ("exploit", "refine", "policy", "tpe", "explore", "continue")
    assert EXPLORE not in possible_actions(BOX, can_explore=False, can_continue=True)
    assert CONTINUE not in possible_actions(BOX, can_explore=True, can_continue=False)
    choices = SearchSpace(dimensions=(KIND,))
    assert REFINE not in possible_actions(choices, can_explore=True, can_continue=True)


@given(rewards=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), order=st.randoms())
def test_accounts_follow_from_the_trials_in_the_order_of_their_numbers(rewards: list[float], order: Any) -> None:
    actions = ("", "", "exploit", "policy")
    trials = [finished(n, reward, action=actions[n % 4]) for n, reward in enumerate(rewards)]
    found = accounts(trials, OBJECTIVE)
    shuffled = [ScoredTrial(record=each.record, score=each.score) for each in trials]
    order.shuffle(shuffled)
    values = {row.key: row.value for row in portfolio_rows(2, shuffled, objective=OBJECTIVE)}
    assert {each.action for each in found} == {each.record.action for each in trials} - {""}
    for each in found:
        assert each.n_epochs == 3 * each.n_trials
        assert values[f"portfolio/expected_in_100_epochs.{each.action}"] == each.belief
        assert values[f"portfolio/improvement.{each.action}"] == each.improvement


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
def test_what_was_pruned_or_failed_cost_its_epochs_for_nothing(state: TrialState) -> None:
    trials = [finished(n, reward, action="tpe" if n == 3 else "") for n, reward in enumerate(REWARDS)]
    ended = [*trials[:3], finished(3, 0.9, action="tpe", state=state)]
    known = [Observation(number=n, stage="fine", hyperparameters={}, reward=reward) for n, reward in enumerate(REWARDS)]
    assert spendings(trials, known, Direction.MAXIMIZE)[3].improvement > 0.0
    lost = spendings(ended, known if state is TrialState.PRUNED else known[:3], Direction.MAXIMIZE)[3]
    assert (lost.improvement, lost.n_epochs) == (0.0, 3)


def test_less_may_be_better() -> None:
    trials = [finished(n, reward, action="tpe") for n, reward in enumerate((0.9, 0.9, 0.5, 0.1))]
    (found,) = accounts(trials, replace(OBJECTIVE, direction=Direction.MINIMIZE))
    assert found.improvement > 0.0
    (other,) = accounts(trials, OBJECTIVE)
    assert other.improvement == 0.0


def test_refined_points_are_near_the_best_in_the_ranges_scale() -> None:
    known = tuple(
        Observation(
            number=n,
            stage="coarse",
            hyperparameters=BOX.from_units({"kind": n % 3 / 3.0, "width": n / 14.0}),
            reward=-abs(n - 9.0),
        )
        for n in range(15)
    )
    for index in range(4):
        point = suggestion(REFINE, box=BOX, observations=known, index=index, target_epochs=1)
        assert point["kind"] == known[9].hyperparameters["kind"]
        assert abs(WIDTH.to_unit(point["width"]) - 9 / 14.0) <= 0.2 + 1e-9


# ---- whole studies ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_study_tells_what_it_spent_its_trials_on(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path)
    record = run_session(state, VirtualEngine(), study())
    trials = [each.record for each in record.trials]
    box = record.openings[1].narrowed.space
    assert not any(each.action for each in trials[:12]), "no choice was made in the first stage"
    assert {each.action for each in trials[12:]} <= {*SAMPLERS, EXPLORE, CONTINUE}
    assert len({each.action for each in trials[12:]}) >= 3
    for each in trials[12:]:
        if each.action != CONTINUE:
            assert box.contains(each.hyperparameters) is (each.action != EXPLORE) is (not each.is_outside)
        logged = read_epoch_log(state.study("bell").trial(each.key).epoch_log)
        assert logged is not None
        assert logged.action == each.action
        assert identity_tags(each)["zeroin.action"] == each.action
        assert each.action in each.beliefs
        assert logged.beliefs == each.beliefs
    assert not any(each.beliefs for each in trials[:12])
    assert trials[12].beliefs.keys() >= set(SAMPLERS), "of actions that were never taken, too"
    assert "zeroin.action" not in identity_tags(trials[0])
    assert trial_row(record.trials[12], record.definition.objective)["action"] == trials[12].action
    stored = StudyStore(default_storage(state), create=False).open("bell")
    assert [each.action for each in stored.trials()] == [each.action for each in trials]
    assert [each.beliefs for each in stored.trials()] == [each.beliefs for each in trials]
    columns = [name for name in trial_columns(record) if name.startswith("belief/")]
    assert {f"belief/{name}.policy" for name in ("mean", "deviation", "draw")} <= set(columns)
    for trial in record.trials:
        row = trial_row(trial, record.definition.objective)
        assert {name: row[name] for name in columns if name in row} == belief_figures(trial.record.beliefs)
    told = status_plain(record)["portfolio"]
    assert sum(each["n_trials"] for each in told) == 20
    assert sum(each["n_epochs"] for each in told) == sum(each.n_trained for each in trials[12:])
    text = shown(record)
    for each in told:
        assert each["action"] in text


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_killed_study_resumes_to_the_same_choices(tmp_path: Path) -> None:
    whole, killed = StateDirectory(root=tmp_path / "whole"), StateDirectory(root=tmp_path / "killed")
    definition = study(pruner="median")
    undisturbed = run_session(whole, VirtualEngine(), definition)
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run_session(killed, VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=40)), definition)
    resumed = run_session(killed, VirtualEngine(checkpoints=checkpoints), definition)
    assert any(each.record.action == CONTINUE for each in undisturbed.trials[14:])
    assert list(map(told, resumed.trials)) == list(map(told, undisturbed.trials))


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_paused_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    engine = VirtualEngine()
    record = run_session(StateDirectory(root=tmp_path), engine, study(pruner="median", n_trials=30))
    by_key = {each.record.key: each.record for each in record.trials}
    continued = [each.record for each in record.trials if each.record.action == CONTINUE]
    assert continued
    assert len({each.continues for each in continued}) == len(continued)
    for each in continued:
        earlier = by_key[each.continues]
        assert earlier.state in (TrialState.COMPLETE, TrialState.PRUNED)
        assert (each.hyperparameters, each.seed) == (earlier.hyperparameters, earlier.seed)
        assert each.n_taken_over == len(earlier.epochs) < 3
        assert {key for key in engine.trained if key[0] == each.key} == {
            (each.key, epoch) for epoch in range(each.n_taken_over + 1, len(each.epochs) + 1)
        }, "no epoch is trained again"
    assert not any(each.record.continues for each in record.trials if each.record.action != CONTINUE)
    assert status_plain(record)["stages"][1]["n_promoted"] == 0
    assert len(list(tmp_path.rglob(CHECKPOINT_NAME))) == 3, "the best ones'; in the end nothing is paused any more"


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_checkpoints_of_few_paused_trials_are_kept_and_a_longer_study_does_without_those_that_are_gone(
    tmp_path: Path,
) -> None:
    kept: list[int] = []

    class Counting(Listener):
        def trial_started(self, record: TrialRecord) -> None:
            kept.append(len(list(tmp_path.rglob(CHECKPOINT_NAME))))

    coarse = {"name": "coarse", "n_trials": 24, "max_epochs": 1, "sampler": "qmc"}
    fine = {"name": "fine", "n_trials": 10, "max_epochs": 3, "sampler": "portfolio"}
    listener, state = Counting(), StateDirectory(root=tmp_path)
    run_session(state, VirtualEngine(), study(stages=[coarse, fine]), observer=listener)
    assert max(kept) == MOST_PAUSED + 3, "those of the best trials, which may be among them, are kept in any case"
    record = run_session(state, VirtualEngine(), study(stages=[coarse, {**fine, "n_trials": 30}]), observer=listener)
    assert len(record.trials) == 54
    assert not any("begins anew" in each for each in listener.notices)
    assert all(each.record.n_taken_over for each in record.trials if each.record.continues)


@given(rewards=st.lists(st.integers(0, 50), max_size=40), maximize=st.booleans())
def test_as_many_of_the_best_paused_trials_are_kept_as_may_be(rewards: list[int], maximize: bool) -> None:
    sign = 1.0 if maximize else -1.0
    paused = PausedTrials(sign)
    for number, reward in enumerate(rewards):
        paused.add(finished(number, float(reward)))
    kept = [each.score.reward for each in paused if each.score is not None]
    assert kept == sorted(map(float, rewards), reverse=maximize)[:MOST_PAUSED]
    for each in list(paused):
        paused.drop(each.record.key)
    assert list(paused) == []


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        ({}, TrialState.COMPLETE, True),
        ({}, TrialState.PRUNED, True),
        ({}, TrialState.DIVERGED, False),
        ({}, TrialState.STOPPED_EARLY, False),
        ({"schedule_horizon": "stage"}, TrialState.COMPLETE, False),
        ({"constraints": {"gap_acc": {"at_most": 0.1}}}, TrialState.COMPLETE, False),
    ],
)
def test_paused_are_trials_that_a_later_stage_could_take_further(
    changes: dict[str, Any], state: TrialState, expected: bool
) -> None:
    definition = study(**changes)
    short = definition.stages[0]
    trial = finished(0, 0.5, state=state)
    record = replace(
        trial.record, stage="coarse", epochs=trial.record.epochs[:1], horizon_epochs=definition.horizon_epochs(short)
    )
    assert is_paused(replace(trial, record=record), definition) is expected
    at_the_end = replace(record, epochs=trial.record.epochs)
    assert not is_paused(replace(trial, record=at_the_end), definition)


def observed(number: int, share: float, course: dict[int, float]) -> Observation:
    """Return a trial at such a share of the way through the range."""
    return Observation(
        number=number,
        stage="fine",
        hyperparameters={"kind": "a", "width": 10.0 ** (-4 + 4 * share)},
        reward=max(course.values()),
        course=tuple(course.items()),
    )


def test_the_paused_trial_that_rises_most_for_its_epochs_is_gone_on_with() -> None:
    others = [observed(n, n / 11, {10: 0.5 - 0.04 * abs(n - 6), 20: 0.6 - 0.04 * abs(n - 6)}) for n in range(12)]
    good = observed(20, 6.2 / 11, {5: 0.38, 10: 0.51})
    bad = observed(21, 0.0, {5: 0.1, 10: 0.2})
    for paused in ([good, bad], [bad, good]):
        chosen = most_promising(paused, others, space=BOX, direction=Direction.MAXIMIZE, target_epochs=20)
        assert chosen == 20


def test_paused_trials_are_told_apart_however_alike_later_ones_are() -> None:
    """The first trials were all paused; long ones since then are better, and next to equal."""
    shares = np.random.default_rng(0).permutation(np.linspace(0.02, 0.98, 20)).tolist()
    reached = [0.65 - 0.8 * abs(share - 0.8) if share > 0.5 else 0.2 + 0.2 * share for share in shares]
    paused = [
        observed(n, share, {2: 0.5 * value, 5: value})
        for n, (share, value) in enumerate(zip(shares, reached, strict=True))
    ]
    since = [observed(100 + n, 0.2 + n / 40_000, {5: 0.8 + 1e-5 * n, 20: 0.9 + 1e-5 * n}) for n in range(60)]
    chosen = most_promising(paused, since, space=BOX, direction=Direction.MAXIMIZE, target_epochs=20)
    assert chosen == reached.index(max(reached))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("direction", Direction)
def test_the_luckiest_value_does_not_make_the_least_known_paused_trial_the_most_promising(
    direction: Direction, seed: int
) -> None:
    """Measured by one lucky value among thirty, all else is hopeless, and most so what is known best."""
    rng = np.random.default_rng(seed)
    sides = [Dimension(name=each, range=UNIT, limits=UNIT) for each in ("x", "y")]

    def at(number: int, x: float, y: float, *epochs: int) -> tuple[float, Observation]:
        final = 0.55 - 0.8 * math.hypot(x - 0.4, y - 0.4) / math.sqrt(2.0)
        curve = {each: direction.sign * (final * (1 - 0.6 * each**-0.7) + 0.03 * rng.normal()) for each in epochs}
        observation = Observation(
            number=number,
            stage="fine",
            hyperparameters={"x": x, "y": y},
            reward=direction.sign * max(direction.sign * each for each in curve.values()),
            course=tuple(curve.items()),
        )
        return final, observation

    paused = [at(n, *rng.random(2), 1, 2) for n in range(16)]
    others = [at(100 + n, *np.clip(0.4 + 0.15 * rng.normal(size=2), 0.0, 1.0), 1, 2, 5, 10, 20)[1] for n in range(30)]
    chosen = most_promising(
        [each for _, each in paused],
        others,
        space=SearchSpace(dimensions=tuple(sides)),
        direction=direction,
        target_epochs=20,
    )
    finals = [final for final, _ in paused]
    assert finals[chosen] >= sorted(finals)[-3]


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_configuration_of_the_users_is_no_choice_of_the_bandits(tmp_path: Path) -> None:
    stages = [{"name": "only", "n_trials": 14, "max_epochs": 1, "sampler": "portfolio"}]
    with pytest.raises(Exception, match="qmc"):
        definition_from_plain({**BELL, "stages": [*stages, {"name": "next", "n_trials": 1, "max_epochs": 2}]})
    stages[0] |= {"n_trials": 40, "max_epochs": 3}
    configurations = [{RATE: 1e-5 * 1.3**n} for n in range(30)]
    definition = study(stages=stages, pruner="median", warm_start={"configurations": configurations})
    record = run_session(StateDirectory(root=tmp_path), VirtualEngine(), definition)
    assert [each.record.hyperparameters for each in record.trials[:30]] == configurations
    actions = [each.record.action for each in record.trials]
    assert actions[:30] == [""] * 30
    assert all(actions[30:])
    assert [bool(each.record.beliefs) for each in record.trials] == [bool(each) for each in actions]
    assert not any(EXPLORE in each.record.beliefs for each in record.trials)
    assert EXPLORE not in actions, "the only stage has the declared ranges, and nothing lies outside"


@pytest.mark.slow
def test_mlflow_has_the_choices_and_the_beliefs(tmp_path: Path, copied_mlflow_database: Any) -> None:
    state = StateDirectory(root=tmp_path)
    copied_mlflow_database(state.mlflow_database)
    record = run_session(state, VirtualEngine(), study(n_trials=6))
    client = mlflow.MlflowClient(tracking_uri=record.tracking_uri)
    experiment = client.get_experiment_by_name("bell")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    actions = sorted(each.data.tags["zeroin.action"] for each in runs if "zeroin.action" in each.data.tags)
    assert actions == sorted(each.record.action for each in record.trials if each.record.action)
    (parent,) = (each for each in runs if f"portfolio/n_trials.{actions[0]}" in each.data.metrics)
    for each in status_plain(record)["portfolio"]:
        found = parent.data.metrics[f"portfolio/expected_in_100_epochs.{each['action']}"]
        assert found == pytest.approx(each["belief"])


@pytest.mark.slow
@pytest.mark.parametrize("killed_after_polls", [None, 30])
def test_mlflow_draws_what_was_believed_at_each_choice(
    tmp_path: Path, copied_mlflow_database: Any, killed_after_polls: int | None
) -> None:
    state = StateDirectory(root=tmp_path)
    copied_mlflow_database(state.mlflow_database)
    checkpoints: dict[str, int] = {}
    if killed_after_polls is not None:
        faults = Faults(killed_after_polls=killed_after_polls)
        with pytest.raises(KilledError):
            run_session(state, VirtualEngine(checkpoints=checkpoints, faults=faults), study(n_trials=8))
    record = run_session(state, VirtualEngine(checkpoints=checkpoints), study(n_trials=8))
    client = mlflow.MlflowClient(tracking_uri=record.tracking_uri)
    experiment = client.get_experiment_by_name("bell")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], filter_string="tags.`zeroin.study` = 'bell'")
    expected: dict[str, list[tuple[int, float]]] = {}
    for number, each in enumerate(record.trials):
        for name, value in belief_figures(each.record.beliefs).items():
            expected.setdefault(name, []).append((number, value))
    assert len(expected["belief/mean.exploit"]) == 8
    assert {name for name in parent.data.metrics if name.startswith("belief/")} == set(expected)
    for name, points in expected.items():
        found = client.get_metric_history(parent.info.run_id, name)
        assert sorted((each.step, each.value) for each in found) == points


@pytest.mark.usefixtures("untracked")
def test_trials_that_were_recorded_without_beliefs_are_read_and_gone_on_with(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path)
    before = run_session(state, VirtualEngine(), study(n_trials=4, finish="none"))
    assert all(each.record.beliefs for each in before.trials[12:])
    for each in (state.optuna_journal, *state.study("bell").directory.rglob("epochs.jsonl")):
        each.write_bytes(re.sub(rb',"(zeroin.)?beliefs":\{([^{}]|\{[^{}]*\})*\}', b"", each.read_bytes()))
        assert b'beliefs"' not in each.read_bytes()
    after = run_session(state, VirtualEngine(), study(n_trials=6, finish="none"))
    assert [each.record.action for each in after.trials[:16]] == [each.record.action for each in before.trials]
    assert not any(each.record.beliefs for each in after.trials[:16])
    assert all(each.record.beliefs for each in after.trials[16:])


def told(trial: ScoredTrial) -> tuple[object, ...]:
    record = trial.record
    return (
        *(record.hyperparameters, record.action, record.beliefs),
        *(record.continues, record.n_taken_over, record.state),
        [dict(each.metrics) for each in record.epochs],
    )


def shown(record: StudyRecord) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(status_report(record))
        console.print(trials_table(record, record.trials, width=160))
    return capture.get()
