"""The life of a study, with real stores and virtual workers."""

import math
import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from study_runs import run_session
from virtual_engine import Faults, KilledError, VirtualEngine, bell_curve

from search.epoch_log import read_epoch_log
from search.errors import StudyConflictError, StudyDefinitionError, StudyFailedError, StudyInterruptedError
from search.messages import EpochReport, TrialAssignment
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import RangeChange, StudyRecord, StudyState
from search.trial import TrialState

PLAIN: dict[str, Any] = {
    "study": "bell",
    "seed": 3,
    "model": {"class_path": "package.Net"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {
        "model.learning_rate": {"log": [1.0e-6, 1.0]},
        "model.optimizer": {"choice": ["sgd", "adamw"]},
        "model.momentum": {"one_minus_log": [0.5, 0.99], "when": {"model.optimizer": ["sgd"]}},
    },
    "stages": [
        {"name": "coarse", "n_trials": 16, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 6, "max_epochs": 4, "sampler": "random"},
    ],
    "pruner": {"name": "median", "n_startup_trials": 4, "n_warmup_epochs": 1},
    "early_stopping": "none",
    "finish": {"top_k": 2, "n_seeds": 2, "ensemble": True},
}


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain(PLAIN | changes)


def run(
    state: StateDirectory, engine: VirtualEngine, study: StudyDefinition | None = None, *, observer: Any = None
) -> StudyRecord:
    return run_session(state, engine, study or definition(), observer=observer)


def fingerprint(record: StudyRecord) -> list[object]:
    """All that must be equal between a study that was interrupted and one that was not."""
    assert record.result is not None
    return [
        [
            (trial.record.key, trial.record.stage, dict(trial.record.hyperparameters), trial.record.seed)
            for trial in record.trials
        ],
        [
            (trial.record.state, trial.record.reason, [dict(epoch.metrics) for epoch in trial.record.epochs])
            for trial in record.trials
        ],
        [(opening.narrowed, opening.first_trial_number) for opening in record.openings],
        replace(record.result, seconds=0.0, device_seconds=0.0, device_use={}, time_ms=0),
    ]


@dataclass(frozen=True)
class Undisturbed:
    """A study that nothing happened to, run once for all the tests that only look at it."""

    record: StudyRecord
    engine: VirtualEngine
    state: StateDirectory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Any) -> Undisturbed:
    state = StateDirectory(root=tmp_path_factory.mktemp("undisturbed"))
    copied_mlflow_database(state.mlflow_database)
    engine = VirtualEngine()
    return Undisturbed(record=run(state, engine), engine=engine, state=state)


def test_a_study_runs_all_its_stages_and_the_finish(undisturbed: Undisturbed) -> None:
    record = undisturbed.record
    assert record.state is StudyState.FINISHED
    assert [trial.record.stage for trial in record.trials] == ["coarse"] * 16 + ["fine"] * 6
    assert all(trial.record.state.is_finished for trial in record.trials)
    assert record.result is not None
    assert record.result.test_ensemble == {"test_acc": 0.95}
    assert record.result.n_test_readings == 1
    assert undisturbed.engine.closed


def test_the_second_stage_searches_where_the_first_was_good(undisturbed: Undisturbed) -> None:
    record = undisturbed.record
    decisions = {decision.name: decision for decision in record.openings[1].narrowed.decisions}
    assert decisions["model.learning_rate"].change is RangeChange.NARROWED
    box = record.openings[1].narrowed.space["model.learning_rate"]
    assert box.contains(1e-3)
    assert not box.contains(1e-6)
    assert all(box.contains(trial.record.hyperparameters["model.learning_rate"]) for trial in record.trials[16:])


def test_epochs_are_counted_by_phase(undisturbed: Undisturbed) -> None:
    result = undisturbed.record.result
    assert result is not None
    assert sum(result.n_epochs.values()) == len(undisturbed.engine.trained)
    assert set(result.n_epochs) == {"coarse", "fine", "confirm", "refit"}


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_only_the_best_trials_keep_their_checkpoints(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(n_slots=2, faults=Faults(diverges={"trial-0001"}, raises={"trial-0002"})))
    directories = state.study("bell").directory
    kept = {path.parent.name for path in directories.glob("*/last.ckpt")}
    rewards = {
        trial.record.key: trial.score.reward
        for trial in record.trials
        if trial.record.state.is_fully_trained and trial.score is not None
    }
    assert kept == set(sorted(rewards, key=lambda key: -rewards[key])[:3])


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_checkpoints_that_a_crash_left_behind_are_removed(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(state, VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=60)))
    for number in range(10):
        state.study("bell").trial(f"trial-{number:04d}").checkpoint.touch()
    run(state, VirtualEngine(checkpoints=checkpoints))
    assert len(list(state.study("bell").directory.glob("*/last.ckpt"))) == 3


def test_the_winner_is_confirmed_with_other_seeds_and_refitted(undisturbed: Undisturbed) -> None:
    record = undisturbed.record
    assert record.result is not None
    winner = record.result.confirmations[0]
    assert winner.trial_number == record.result.best_trial_number
    assert winner.mean >= max(each.mean for each in record.result.confirmations)
    logs = [read_epoch_log(undisturbed.state.study("bell").trial(key).epoch_log) for key in record.result.refit_keys]
    hyperparameters = record.trials[winner.trial_number].record.hyperparameters
    assert [log.hyperparameters for log in logs if log] == [hyperparameters, hyperparameters]
    assert len({log.seed for log in logs if log}) == 2


@pytest.mark.parametrize(
    "n_polls", [3, 23, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 40, 57, 71, 85, 90, 100))]
)
@pytest.mark.usefixtures("untracked")
def test_a_killed_study_resumes_to_what_it_would_have_been(
    tmp_path: Path, undisturbed: Undisturbed, n_polls: int
) -> None:
    state = StateDirectory(root=tmp_path / "killed")
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(state, VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=n_polls)))
    engine = VirtualEngine(checkpoints=checkpoints)
    record = run(state, engine)
    assert fingerprint(record) == fingerprint(undisturbed.record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruner", "sampler"),
    [
        ("asha", "random"),
        ("wilcoxon", "random"),
        ({"name": "forecast", "min_epochs": 2, "n_startup_trials": 3}, "mixed"),
    ],
)
@pytest.mark.usefixtures("untracked")
def test_every_pruner_prunes_and_decides_alike_after_a_kill(tmp_path: Path, pruner: Any, sampler: str) -> None:
    def rising(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        # The best come first, so that there is always somebody to be worse than.
        metrics = bell_curve(assignment, 1)
        return metrics | {"val_acc": (metrics["val_acc"] - int(assignment.trial_key[6:10])) * (2.0 - 1.0 / epoch)}

    stages = [{"name": "only", "n_trials": 16, "max_epochs": 9, "sampler": sampler}]
    study = definition(pruner=pruner, stages=stages, finish="none")
    undisturbed = run(StateDirectory(root=tmp_path / "whole"), VirtualEngine(metrics=rising), study)
    pruned = [trial.record for trial in undisturbed.trials if trial.record.state is TrialState.PRUNED]
    assert pruned
    assert all("trial" in record.reason for record in pruned)
    killed = StateDirectory(root=tmp_path / "killed")
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(killed, VirtualEngine(metrics=rising, checkpoints=checkpoints, faults=Faults(killed_after_polls=25)), study)
    resumed = run(killed, VirtualEngine(metrics=rising, checkpoints=checkpoints), study)
    assert fingerprint(resumed) == fingerprint(undisturbed)


@pytest.mark.slow
def test_no_epoch_is_trained_twice_after_a_kill_between_epochs(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    first = VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=45))
    with pytest.raises(KilledError):
        run(state, first)
    second = VirtualEngine(checkpoints=checkpoints)
    run(state, second)
    again = [epoch for epoch, count in Counter(first.trained + second.trained).items() if count > 1]
    assert len(again) <= 1  # the one whose report the dead coordinator had not read


@pytest.mark.slow
def test_a_finished_study_is_not_run_again(state: StateDirectory) -> None:
    run(state, VirtualEngine())
    engine = VirtualEngine()
    record = run(state, engine)
    assert engine.trained == []
    assert record.result is not None
    assert record.result.n_test_readings == 1


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_trial_that_raises_fails_and_the_study_goes_on(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(faults=Faults(raises={"trial-0001"})))
    failed = record.trials[1]
    assert (failed.record.state, failed.record.reason) == (TrialState.FAILED, "ValueError: no such layer")
    assert failed.score is None
    assert record.state is StudyState.FINISHED


@pytest.mark.slow
def test_a_study_in_which_everything_fails_stops_early(state: StateDirectory) -> None:
    keys = {f"trial-{number:04d}" for number in range(22)}
    engine = VirtualEngine(faults=Faults(raises=keys))
    with pytest.raises(StudyFailedError, match=r"all 3 trials so far have failed.*\n.*no such layer|no such layer"):
        run(state, engine)
    assert engine.closed
    assert read_study("bell", directory=state).state is StudyState.UNFINISHED


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_diverged_trial_gets_the_worst_reward(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(faults=Faults(diverges={"trial-0002"})))
    diverged = record.trials[2]
    assert diverged.record.state is TrialState.DIVERGED
    assert diverged.record.reason == "train_loss is nan after epoch 2"
    assert diverged.score is not None
    assert diverged.score.reward == -math.inf


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_lost_worker_is_replaced_and_its_trial_continues(state: StateDirectory) -> None:
    engine = VirtualEngine(faults=Faults(loses_worker={"trial-0000": 1}))
    record = run(state, engine)
    assert record.trials[0].record.state is TrialState.COMPLETE
    assert record.trials[0].record.n_retries == 1
    assert [epoch for key, epoch in engine.trained if key == "trial-0000"] == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_trial_that_keeps_losing_its_worker_fails(state: StateDirectory) -> None:
    study = definition(stages=[PLAIN["stages"][0] | {"max_epochs": 6}, PLAIN["stages"][1] | {"max_epochs": 6}])
    record = run(state, VirtualEngine(faults=Faults(loses_worker={"trial-0000": 3})), study)
    assert record.trials[0].record.state is TrialState.FAILED
    assert record.trials[0].record.reason == "given up after 3 attempts; last: killed by SIGKILL"


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_module_that_ends_training_itself_stopped_early(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(faults=Faults(stops_itself={"trial-0000"})))
    assert record.trials[0].record.state is TrialState.STOPPED_EARLY
    assert "the module itself" in record.trials[0].record.reason


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_flat_curve_is_stopped_early(state: StateDirectory) -> None:
    def flat(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        return {**bell_curve(assignment, 1), "val_acc": 0.5 + (assignment.seed % 7) * 0.01}

    study = definition(
        early_stopping={"patience_epochs": 2, "min_delta": 0.0}, pruner="none", stages=[PLAIN["stages"][1]]
    )
    record = run(state, VirtualEngine(metrics=flat), study)
    assert {trial.record.state for trial in record.trials} == {TrialState.STOPPED_EARLY}
    assert {len(trial.record.epochs) for trial in record.trials} == {3}


def test_the_median_pruner_stops_trials_that_are_worse_than_their_peers(undisturbed: Undisturbed) -> None:
    pruned = [trial for trial in undisturbed.record.trials if trial.record.state is TrialState.PRUNED]
    assert pruned
    assert all("median" in trial.record.reason for trial in pruned)


def test_nothing_is_created_when_the_model_does_not_fit(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "mlruns")
    engine = VirtualEngine(inspection_error=("no class 'Nett' in package.", "model.class_path"))
    with pytest.raises(StudyDefinitionError, match="Nett") as caught:
        run(state, engine)
    assert caught.value.key == "model.class_path"
    assert not state.root.exists()
    assert engine.closed


def test_a_gap_that_cannot_be_measured_cannot_be_penalized(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "mlruns")
    objective = {"monitor": "val_acc", "direction": "maximize", "gap_weight": 0.5}
    with pytest.raises(StudyDefinitionError, match=r"cannot be measured, but is 0\.5") as caught:
        run(state, VirtualEngine(measures_gap=False), definition(objective=objective))
    assert caught.value.key == "objective.gap_weight"
    assert not state.root.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_second_coordinator_is_refused(state: StateDirectory) -> None:
    class Intruder(SilentObserver):
        refused = ""

        def stage_opened(self, opening: object) -> None:
            with pytest.raises(StudyConflictError) as caught:
                run(state, VirtualEngine())
            Intruder.refused = str(caught.value)

    run(state, VirtualEngine(), observer=Intruder())
    assert f"is being run by process {os.getpid()}" in Intruder.refused


@pytest.mark.slow
def test_ctrl_c_pauses_the_trials_and_says_how_to_go_on(state: StateDirectory) -> None:
    def press(report: EpochReport) -> None:
        if (report.trial_key, report.epoch) == ("trial-0003", 1):
            os.kill(os.getpid(), signal.SIGINT)

    checkpoints: dict[str, int] = {}
    with pytest.raises(StudyInterruptedError, match="zeroin resume bell") as caught:
        run(state, VirtualEngine(checkpoints=checkpoints, on_epoch=press))
    assert caught.value.exit_code == 130
    interrupted = read_study("bell", directory=state)
    assert interrupted.trials[3].record.state is TrialState.INTERRUPTED
    engine = VirtualEngine(checkpoints=checkpoints)
    record = run(state, engine)
    assert engine.trained[0] == ("trial-0003", 2)
    assert record.state is StudyState.FINISHED


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(state: StateDirectory) -> None:
    def press_twice(report: EpochReport) -> None:
        if report.trial_key == "trial-0003":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    engine = VirtualEngine(on_epoch=press_twice)
    with pytest.raises(StudyInterruptedError, match="stopped at once"):
        run(state, engine)
    assert engine.closed
    assert read_study("bell", directory=state).state is StudyState.UNFINISHED


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_without_a_test_split_the_test_is_skipped(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(has_test_data=False))
    assert record.result is not None
    assert record.result.n_test_readings == 0
    assert any("no test split" in notice for notice in record.result.notices)


@pytest.mark.slow
def test_contenders_that_all_diverge_with_other_seeds_fail_the_study(state: StateDirectory) -> None:
    def fragile(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        confirming = assignment.trial_key.startswith("confirm")
        return {**bell_curve(assignment, epoch), **({"train_loss": math.inf} if confirming else {})}

    with pytest.raises(StudyFailedError, match="no contender could be confirmed"):
        run(state, VirtualEngine(metrics=fragile))


@pytest.mark.slow
def test_the_test_split_is_not_read_again_after_a_kill(state: StateDirectory) -> None:
    class Killer(SilentObserver):
        def study_finished(self, record: object, result: object) -> None:
            raise KilledError

    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(state, VirtualEngine(checkpoints=checkpoints), observer=Killer())
    record = run(state, VirtualEngine(checkpoints=checkpoints))
    assert record.result is not None
    assert record.result.n_test_readings == 1
    assert record.state is StudyState.FINISHED


@pytest.mark.slow
def test_ctrl_c_while_the_test_split_is_read_does_not_lose_it(state: StateDirectory) -> None:
    class Impatient(SilentObserver):
        def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None:
            if name == "test":
                os.kill(os.getpid(), signal.SIGINT)

    record = run(state, VirtualEngine(), observer=Impatient())
    assert record.result is not None
    assert (record.result.n_test_readings, record.result.test_ensemble) == (1, {"test_acc": 0.95})


@pytest.mark.slow
def test_every_run_of_the_finish_reaches_mlflow_after_a_kill(
    state: StateDirectory, tmp_path: Path, copied_mlflow_database: Any
) -> None:
    import mlflow

    class Killer(SilentObserver):
        def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None:
            if name == "refit":
                raise KilledError

    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(state, VirtualEngine(checkpoints=checkpoints), observer=Killer())
    empty = f"sqlite:///{copied_mlflow_database(tmp_path / 'empty' / 'mlflow.db')}"  # as if nothing had been delivered
    run(state, VirtualEngine(checkpoints=checkpoints), definition(tracking_uri=empty))
    client = mlflow.MlflowClient(tracking_uri=empty)
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    runs = client.search_runs([experiment.experiment_id])
    assert {each.data.tags.get("zeroin.trial") for each in runs} >= {f"refit-seed{index}" for index in range(2)}
    assert sum(each.data.tags.get("zeroin.stage") == "confirm" for each in runs) == 4
    assert "RUNNING" not in {each.info.status for each in runs}


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_without_a_finish_the_best_trial_of_the_search_wins(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(), definition(finish="none"))
    assert record.result is not None
    best = max(
        (
            trial
            for trial in record.trials
            if trial.record.state is TrialState.COMPLETE and trial.record.stage == "fine"
        ),
        key=lambda trial: trial.score.reward if trial.score else -math.inf,
    )
    assert record.result.best_trial_number == best.record.number
    assert record.result.confirmations == ()
    assert record.result.n_test_readings == 0


@pytest.mark.parametrize(
    ("curve", "n_epochs"), [((0.5, 0.9, 0.8, 0.7), 2), ((0.5, 0.9, 0.9, 0.9), 4), ((0.5, 0.6, 0.7, 0.8), 4)]
)
@pytest.mark.usefixtures("untracked")
def test_the_winner_is_refitted_for_as_long_as_was_best(
    state: StateDirectory, curve: tuple[float, ...], n_epochs: int
) -> None:
    def metrics(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        return {**bell_curve(assignment, epoch), "val_acc": curve[epoch - 1]}

    study = definition(pruner="none", early_stopping={"patience_epochs": 1, "min_delta": 0.0})
    record = run(state, VirtualEngine(metrics=metrics), study)
    assert record.result is not None
    assert record.result.refit_epochs == n_epochs


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_parallel_workers_lose_and_repeat_nothing(state: StateDirectory) -> None:
    engine = VirtualEngine(n_slots=5)
    record = run(state, engine)
    assert [trial.record.number for trial in record.trials] == list(range(22))
    assert max(Counter(engine.trained).values()) == 1
