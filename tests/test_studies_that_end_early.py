"""Whole studies with real stores and virtual workers that end early, are killed, resumed and edited."""

from __future__ import annotations

import json
import math
import random
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL, study
from study_runs import Listener, run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search.errors import StudyConflictError, StudyDefinitionError
from search.messages import EpochReport, TrialAssignment
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import EndEarly, StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain, study_json_schema, with_overrides
from search.study_record import StudyRecord, StudyState

PLAIN: Mapping[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 8, "max_epochs": 1, "sampler": "qmc"},
        {"name": "fine", "n_trials": 24, "max_epochs": 2, "sampler": "random"},
    ],
    "end_early": {"min_trials": 12, "patience_trials": 3},
}
FINISH = {"top_k": 2, "n_seeds": 2}


def flat_curve(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
    """Accuracy that nothing but chance decides."""
    text = f"{assignment.seed} {assignment.trial_key} {epoch}"
    accuracy = 0.5 + random.Random(zlib.crc32(text.encode())).gauss(0.0, 0.01)
    return {"train_loss": 1.0 - accuracy, "val_acc": accuracy, "gap_acc": 0.0, "train_eval_acc": accuracy}


class Runs:
    """Sessions of one study; what is on disk outlives their deaths."""

    def __init__(self, state: StateDirectory) -> None:
        self.state = state
        self.listener = Listener()
        self._checkpoints: dict[str, int] = {}

    def run(self, definition: StudyDefinition, *, faults: Faults | None = None, n_workers: int = 1) -> StudyRecord:
        engine = VirtualEngine(n_slots=n_workers, checkpoints=self._checkpoints, metrics=flat_curve, faults=faults)
        return run_session(self.state, engine, definition, observer=self.listener)

    def killed(self, definition: StudyDefinition, *, in_trial: str) -> StudyRecord:
        """Run until a trial whose key begins like that has an epoch."""

        def die(report: EpochReport) -> None:
            if report.trial_key.startswith(in_trial):
                raise KilledError

        engine = VirtualEngine(checkpoints=self._checkpoints, metrics=flat_curve, on_epoch=die)
        with pytest.raises(KilledError):
            run_session(self.state, engine, definition, observer=self.listener)
        return read_study("bell", directory=self.state)


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain({**PLAIN, **changes})


def points(record: StudyRecord) -> list[Mapping[str, Any]]:
    return [dict(each.record.hyperparameters) for each in record.trials]


def metrics_of(state: StateDirectory) -> Mapping[str, float]:
    """What MLflow shows of the study as a whole."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    (parent,) = client.search_runs([experiment.experiment_id], filter_string="tags.`zeroin.study` = 'bell'")
    metrics: Mapping[str, float] = parent.data.metrics
    return metrics


@pytest.mark.slow
def test_a_search_with_nothing_to_gain_ends_and_says_why_and_goes_on_when_it_is_told_to(state: StateDirectory) -> None:
    runs = Runs(state)
    record = runs.run(definition())
    end = record.early_end
    assert end is not None and record.result is not None and record.state is StudyState.FINISHED
    assert len(record.trials) == end.n_finished == 32 - end.n_left < 32
    assert max(end.outlook.expected_gain, end.outlook.possible_gain) < end.outlook.noise
    assert end.reason in record.result.notices[0] and any(end.reason in each for each in runs.listener.notices)
    assert metrics_of(state)["ended_early/noise"] == pytest.approx(end.outlook.noise)
    assert runs.run(definition()).early_end == end
    endless = with_overrides(definition(), ["end_early=none"])
    went_on = runs.run(endless)
    assert (len(went_on.trials), went_on.early_end) == (32, None)
    figures = {name: value for name, value in metrics_of(state).items() if name.startswith("ended_early/")}
    assert figures.pop("ended_early/n_left") == 0.0 and figures
    assert all(math.isnan(value) for value in figures.values())
    assert points(went_on)[: len(record.trials)] == points(record)


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_killed_study_comes_to_the_same_decision_and_a_raised_minimum_undoes_it(tmp_path: Path) -> None:
    patient = definition(end_early={"min_trials": 12, "patience_trials": 7})
    records = []
    for name in ("undisturbed", "killed"):
        runs = Runs(StateDirectory(root=tmp_path / name))
        if name == "killed":
            cut = runs.killed(patient, in_trial="trial-0014")
            assert cut.early_end is None and len(cut.trials) == 15
        records.append(runs.run(patient))
    first, second = (record.early_end for record in records)
    assert first is not None and second is not None
    assert (first.reason, first.outlook, first.n_finished) == (second.reason, second.outlook, second.n_finished)
    assert points(records[0]) == points(records[1])
    again = runs.run(with_overrides(patient, ["end_early.min_trials=26"]))
    assert len(again.trials) >= 26


def n_told(record: StudyRecord) -> int:
    """Configurations of which a finished trial tells."""
    return sum(each.score is not None and not each.record.continues for each in record.trials)


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_neither_failed_trials_nor_continuations_count_towards_the_minimum(tmp_path: Path) -> None:
    asked = {"min_trials": 12, "patience_trials": 1}
    fails = Faults(raises={f"trial-{number:04d}" for number in range(1, 18) if number % 3})
    record = Runs(StateDirectory(root=tmp_path / "failing")).run(definition(end_early=asked), faults=fails)
    assert record.early_end is not None
    assert n_told(record) >= 12
    stages = [PLAIN["stages"][0], {**PLAIN["stages"][1], "promote": 6}]
    patient = definition(stages=stages, end_early=asked)
    record = Runs(StateDirectory(root=tmp_path / "promoting")).run(patient)
    assert record.early_end is not None
    assert sum(bool(each.record.continues) for each in record.trials) == 6
    assert n_told(record) >= 12
    runs = Runs(StateDirectory(root=tmp_path / "killed"))
    runs.killed(patient, in_trial="trial-0015")
    again = runs.run(patient)
    assert (again.early_end is not None, points(again)) == (True, points(record))


@pytest.mark.slow
def test_confirmations_may_still_be_given_up_for_the_search_but_a_refit_may_not(state: StateDirectory) -> None:
    runs = Runs(state)
    given = definition(finish=FINISH)
    cut = runs.killed(given, in_trial="confirm")
    assert cut.early_end is not None and cut.finish_has_begun and cut.result is None
    endless = with_overrides(given, ["end_early=none"])
    record = runs.run(endless)
    assert len(record.trials) == 32 and record.result is not None and record.early_end is None
    winner = record.result.confirmations[0]
    metrics = metrics_of(state)
    assert winner.interval == (metrics["confirmed_low"], metrics["confirmed_high"])
    assert metrics["confirmed_low"] < metrics["confirmed_mean"] == winner.mean < metrics["confirmed_high"]
    assert not any("ended early" in notice for notice in record.result.notices)
    with pytest.raises(StudyConflictError, match="the study is finished"):
        runs.run(given)


def test_the_entry_is_read_written_and_in_the_schema() -> None:
    assert study().end_early is None
    assert study(end_early="noise").end_early == study(end_early={}).end_early == EndEarly()
    asked = study(end_early={"gain_below": 0.002, "patience_trials": 2, "min_trials": 9, "probability": 0.95})
    assert asked.end_early == EndEarly(gain_below=0.002, patience_trials=2, min_trials=9, probability=0.95)
    assert definition_from_plain(json.loads(json.dumps(definition_to_plain(asked)))) == asked
    assert with_overrides(asked, ["end_early=none"]).end_early is None
    assert "end_early" in study_json_schema()["properties"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"gain_below": 0.0}, "end_early.gain_below"),
        ({"gain_below": "nose"}, "end_early.gain_below"),
        ({"probability": 1.0}, "end_early.probability"),
        ({"patience": 3}, "patience_trials"),
        ("soon", "end_early"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(entry: object, message: str) -> None:
    with pytest.raises(StudyDefinitionError, match=message):
        study(end_early=entry)


def test_a_study_whose_best_is_no_single_number_cannot_end_early() -> None:
    with pytest.raises(StudyDefinitionError, match=r"end_early.*must be left out of a study with constraints"):
        study(end_early="noise", constraints={"gap_loss": {"at_most": 0.1}})
    several = [{"monitor": "val_loss", "direction": "minimize"}, {"monitor": "n_parameters", "direction": "minimize"}]
    with pytest.raises(StudyDefinitionError, match=r"end_early.*must be left out of a study with several objectives"):
        study(end_early="noise", objective=None, objectives=several)


def test_a_search_that_has_spent_its_budget_does_not_end_early(tmp_path: Path) -> None:
    runs = Runs(StateDirectory(root=tmp_path))
    spent = runs.run(definition(budget={"epochs": 19}), n_workers=4)
    assert sum(each.record.n_trained for each in spent.trials) >= 19, "nothing was left that an early end could save"
    assert not any("ends early" in each for each in runs.listener.notices)
    assert spent.early_end is None
    more = runs.run(definition(budget={"epochs": 24}), n_workers=4)
    assert more.early_end is not None and "ends early" in runs.listener.notices[-1], "now there is something to save"
    assert more.early_end.n_finished == len(spent.trials)
