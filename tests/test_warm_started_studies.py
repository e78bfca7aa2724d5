"""Whole studies that begin with configurations, and with earlier studies of zeroin, of Optuna and in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial
from plain_study import BELL
from recorded_studies import RecordedStudies, call
from rich.console import Console
from study_runs import Listener, run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search.cli.rows import trial_row
from search.cli.trials_table import trials_table
from search.coordinator.edited_study import edits_of
from search.coordinator.stores import default_storage
from search.engines import choice
from search.epoch_log import read_epoch_log
from search.errors import SearchError, StudyConflictError, StudyDefinitionError
from search.paths import StateDirectory
from search.storage import StudyStore
from search.studies_api import preview_study, resume_study, run_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import StudyRecord
from search.tracking.trial_rows import identity_tags

STAGES = [
    {"name": "coarse", "n_trials": 16, "max_epochs": 1, "sampler": "qmc"},
    {"name": "fine", "n_trials": 6, "max_epochs": 2, "sampler": "tpe"},
]
RATE = "model.learning_rate"


def study(name: str = "bell", **changes: Any) -> StudyDefinition:
    return definition_from_plain({**BELL, "study": name, "stages": STAGES, **changes})


def foreign(
    directory: Path,
    *,
    direction: str = "maximize",
    name: str = RATE,
    values: tuple[float, ...] = (1e-3, 2e-3, 1e-5, 0.5),
) -> str:
    """An Optuna study `theirs`, the first of its trials the best; its storage."""
    uri = f"sqlite:///{directory / 'theirs.db'}"
    made = optuna.create_study(storage=uri, study_name="theirs", direction=direction)
    for number, value in enumerate(values):
        trial = create_trial(
            params={name: value}, distributions={name: FloatDistribution(1e-9, 99.0)}, value=1.0 / (1 + number)
        )
        made.add_trial(trial)
    return uri


def origins(record: StudyRecord) -> dict[int, str]:
    return {number: each.record.origin for number, each in enumerate(record.trials) if each.record.origin}


def files_in(directory: Path) -> set[Path]:
    return {each for each in directory.rglob("*") if "mlflow.db" not in each.name}


# ---- what is tried, and how it is told -------------------------------------------------------------------------------


@pytest.mark.usefixtures("untracked")
def test_configurations_are_tried_first_and_marked_everywhere(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "state")
    space = {**BELL["space"], "model.kind": {"choice": ["a", "b"]}, "model.drop": {"linear": [0.0, 0.5]}}
    listed = [{RATE: 3e-3, "model.kind": "b"}, {RATE: 5.0}]  # the second one beyond the declared range
    definition = study(space=space, warm_start={"configurations": listed})
    record = run_session(state, VirtualEngine(), definition)
    without = run_session(StateDirectory(root=tmp_path / "without"), VirtualEngine(), study(space=space))
    trials = [each.record for each in record.trials]
    assert origins(record) == {0: "configuration 1", 1: "configuration 2"}
    assert (trials[0].hyperparameters[RATE], trials[0].hyperparameters["model.kind"]) == (3e-3, "b")
    assert trials[0].hyperparameters["model.drop"] == without.trials[0].record.hyperparameters["model.drop"]
    assert trials[1].hyperparameters[RATE] == 5.0
    assert [each.is_outside for each in trials[:3]] == [False, True, False]
    assert [each.hyperparameters for each in trials[2:16]] == [
        each.record.hyperparameters for each in without.trials[2:16]
    ], "the others are those of a study that is told nothing"
    logged = read_epoch_log(state.study("bell").trial("trial-0001").epoch_log)
    assert logged is not None
    assert logged.origin == "configuration 2"
    assert identity_tags(trials[0])["zeroin.origin"] == "configuration 1"
    assert "zeroin.origin" not in identity_tags(trials[2])
    assert trial_row(record.trials[0], record.definition.objective)["origin"] == "configuration 1"
    stored = StudyStore(default_storage(state), create=False).open("bell")
    assert [each.origin for each in stored.trials()[:3]] == ["configuration 1", "configuration 2", ""]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(trials_table(record, record.trials, width=160))
    assert capture.get().count("coarse, warm start") == 1
    assert capture.get().count("coarse, outside, warm start") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_killed_study_needs_its_past_no_more_and_resumes_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    values = tuple(1e-3 * (1.0 + 0.2 * n) for n in range(10)) + tuple(1e-6 * 2.0**n for n in range(10))
    uri = foreign(tmp_path / "theirs", values=values)
    space = {RATE: {**BELL["space"][RATE], "prior": {"mean": 1e-4, "decades": 1}}}
    stages = [*STAGES, {"name": "finest", "n_trials": 4, "max_epochs": 3, "sampler": "policy"}]
    definition = study(space=space, stages=stages, warm_start={"studies": [{"study": "theirs", "storage": uri}]})
    whole, killed = StateDirectory(root=tmp_path / "whole"), StateDirectory(root=tmp_path / "killed")
    listener = Listener()
    undisturbed = run_session(whole, VirtualEngine(), definition, observer=listener)
    assert "warm start: 20 trials of study 'theirs' are taken as evidence." in listener.notices
    found = origins(undisturbed)
    assert (found[0], undisturbed.trials[0].record.hyperparameters) == ("theirs, trial 0", {RATE: 1e-3})
    assert found[1].startswith("theirs, trial ")
    assert any(origin.startswith("near theirs, trial ") for origin in found.values()), "the past agrees"
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run_session(killed, VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=9)), definition)
    (tmp_path / "theirs" / "theirs.db").unlink()
    resumed = run_session(killed, VirtualEngine(checkpoints=checkpoints), definition)
    assert [(each.record.hyperparameters, each.record.origin) for each in resumed.trials] == [
        (each.record.hyperparameters, each.record.origin) for each in undisturbed.trials
    ]


@pytest.mark.usefixtures("untracked")
def test_an_earlier_study_of_zeroin_is_found_by_its_name(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "state")
    first = run_session(state, VirtualEngine(), study("first", stages=STAGES[:1]))
    best = max(first.trials, key=lambda each: each.score.reward if each.score else 0.0)
    second = run_session(state, VirtualEngine(), study("second", warm_start={"studies": ["first"]}))
    assert origins(second)[0] == f"first, trial {best.record.number}"
    made = {each.record.hyperparameters[RATE] for each in first.trials}
    again = [each.record for each in second.trials if each.record.hyperparameters[RATE] in made]
    assert [each.origin for each in again] == list(origins(second).values())[:2], "no others, with the same seed too"
    assert not {each.record.seed for each in first.trials} & {each.record.seed for each in second.trials}
    assert second.trials[0].record.hyperparameters == best.record.hyperparameters
    with pytest.raises(StudyConflictError, match="warm_start"):
        run_session(state, VirtualEngine(), study("second"))


@pytest.mark.usefixtures("untracked")
def test_configurations_that_a_budget_keeps_out_of_the_first_stage_begin_the_next(tmp_path: Path) -> None:
    listed = [{RATE: 10.0**-exponent} for exponent in range(1, 6)]
    definition = study(budget={"n_trials": 7}, warm_start={"configurations": listed})
    record = run_session(StateDirectory(root=tmp_path), VirtualEngine(n_slots=2), definition)
    tried = [each.record for each in record.trials]
    assert [each.origin for each in tried[:5]] == [f"configuration {n}" for n in range(1, 6)]
    assert {each.stage for each in tried[:5]} == {"coarse", "fine"}
    assert not any(each.origin for each in tried[5:])


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("n_good", [1, 2])
def test_diverged_trials_are_evidence_but_not_tried_again(tmp_path: Path, n_good: int) -> None:
    state = StateDirectory(root=tmp_path / "state")
    diverges = {f"trial-{number:04d}" for number in range(n_good, 16)}
    run_session(
        state,
        VirtualEngine(faults=Faults(diverges=diverges)),
        study("old", stages=[{"name": "only", "n_trials": 16, "max_epochs": 2, "sampler": "qmc"}]),
    )
    listener = Listener()
    stages = [{"name": "only", "n_trials": 40, "max_epochs": 1, "sampler": "qmc"}]
    record = run_session(
        state, VirtualEngine(), study("new", stages=stages, warm_start={"studies": ["old"]}), observer=listener
    )
    again = {origin for origin in origins(record).values() if not origin.startswith("near ")}
    assert again == {f"old, trial {number}" for number in range(n_good)}
    assert "warm start: 16 trials of study 'old' are taken as evidence." in listener.notices


@pytest.mark.slow
def test_an_mlflow_experiment_is_found_by_its_name(state: StateDirectory) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")
    experiment = client.create_experiment("runs")
    for number, (rate, value) in enumerate([("1e-3", 0.9), ("1e-05", 0.95), ("0.1", 0.2), ("no", 0.99), ("0.5", None)]):
        run = client.create_run(experiment, run_name=f"run {number}")
        client.log_param(run.info.run_id, RATE, rate)
        if value is not None:
            client.log_metric(run.info.run_id, "val_acc", value)
        client.set_terminated(run.info.run_id)
    record = run_session(state, VirtualEngine(), study(warm_start={"studies": [{"experiment": "runs"}]}))
    assert origins(record)[0] == "runs, run 1"
    assert record.trials[0].record.hyperparameters == {RATE: 1e-5}
    with pytest.raises(StudyDefinitionError, match="must have the metric val_loss or best_val_loss, but have val_acc"):
        objective = {"monitor": "val_loss", "direction": "minimize"}
        run_session(
            state, VirtualEngine(), study("b", objective=objective, warm_start={"studies": [{"experiment": "runs"}]})
        )
    with pytest.raises(StudyDefinitionError, match="Did you mean 'runs'"):
        run_session(state, VirtualEngine(), study("b", warm_start={"studies": [{"experiment": "run"}]}))


# ---- what cannot be taken --------------------------------------------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of calls whose engine is a virtual one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice, "LocalEngine", lambda slots: VirtualEngine())
    return tmp_path


CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"study": "thiers"}, "no study 'thiers' in .*; it has theirs. Did you mean 'theirs'"),
    ({}, {"storage": "sqlite:///nowhere.db"}, "there is no Optuna storage sqlite:////.*nowhere.db"),
    ({}, {"storage": "nowhere.journal"}, "there is no Optuna storage journal:///.*nowhere.journal"),
    ({"direction": "minimize"}, {}, "must maximize as this one does, but its direction is minimize"),
    ({"name": "lr"}, {}, r"must share searched arguments with this study \(model.learning_rate\), but has lr"),
    (
        {"values": (1e-8, 50.0)},
        {},
        "values that this study can have, but none of its 2 has: model.learning_rate must lie within the hard limits",
    ),
    ({"values": ()}, {}, "must have finished trials, but has none"),
]


@pytest.mark.parametrize(("made", "told", "expected"), CASES)
def test_a_study_that_teaches_nothing_is_refused_and_nothing_is_created(
    api: Path, made: dict[str, Any], told: dict[str, Any], expected: str
) -> None:
    uri = foreign(api, **made)
    before = files_in(api)
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri, **told}]})
    for run in (run_study, preview_study):
        with pytest.raises(StudyDefinitionError, match=f"warm_start.studies.0: .*{expected}") as caught:
            run(definition, directory=StateDirectory(root=api / "state"))
        assert caught.value.exit_code == 2
    assert files_in(api) == before


def test_values_of_another_kind_are_refused_for_what_they_are(api: Path) -> None:
    uri = foreign(api, values=(12.5, 3.25))
    definition = study(space={RATE: {"int": [1, 64]}}, warm_start={"studies": [{"study": "theirs", "storage": uri}]})
    expected = r"none of its 2 has: model.learning_rate must be an integer, but got 12\.5"
    with pytest.raises(StudyDefinitionError, match=expected):
        run_study(definition, directory=StateDirectory(root=api / "state"))


def test_values_that_are_no_numbers_are_left_out_and_the_first_is_named(api: Path) -> None:
    uri = f"sqlite:///{api / 'theirs.db'}"
    made = optuna.create_study(storage=uri, study_name="theirs", direction="maximize")
    choices = CategoricalDistribution([None, 1e-3, 1e-2])
    for value in (None, 1e-3, None, 1e-2):
        made.add_trial(create_trial(params={RATE: value}, distributions={RATE: choices}, value=0.5))
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri}]})
    preview = preview_study(definition, directory=StateDirectory(root=api / "state"))
    assert preview.inspection.notices[0] == (
        "warm start: 2 trials of study 'theirs' are taken as evidence; 2 have values that this study cannot have "
        "(model.learning_rate must be a number, but got None)."
    )


def test_a_server_that_does_not_answer_is_said_to_be_away(api: Path) -> None:
    uri = "postgresql://me:secret@127.0.0.1:1/x"
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri}]})
    with pytest.raises(
        StudyDefinitionError, match=r"cannot be opened: OperationalError: .*[Cc]onnection refused"
    ) as told:
        preview_study(definition, directory=StateDirectory(root=api / "state"))
    assert "secret" not in str(told.value) and "exceeding" not in str(told.value)


def test_a_study_is_evidence_once(api: Path) -> None:
    uri = foreign(api)
    theirs = {"study": "theirs", "storage": uri}
    for twice in ([theirs, theirs], [theirs, "theirs"]):
        definition = study(storage=uri, warm_start={"studies": twice})
        expected = "warm_start.studies.1: each entry must be another study, but got study 'theirs', which .*studies.0"
        with pytest.raises(StudyDefinitionError, match=expected):
            preview_study(definition, directory=StateDirectory(root=api / "state"))


def test_another_metric_is_refused(api: Path) -> None:
    state = StateDirectory(root=api / "state")
    store = StudyStore(default_storage(state), create=True)
    store.create(study("old"), directory=state.make(state.study("old").directory))
    objective = {"monitor": "val_f1", "direction": "maximize"}
    with pytest.raises(SearchError, match="study 'old' must monitor val_f1 as this one does, but monitors val_acc"):
        run_study(study(objective=objective, warm_start={"studies": ["old"]}), directory=state)
    assert store.names() == ("old",)


def test_a_database_of_another_kind_is_left_as_it_is(api: Path, copied_mlflow_database: Callable[[Path], Path]) -> None:
    file = copied_mlflow_database(api / "other.db")
    content = file.read_bytes()
    uri = foreign(api)
    for told, expected in (
        ({"study": "x", "storage": f"sqlite:///{file}"}, "there is no Optuna storage"),
        ({"experiment": "x", "tracking_uri": uri}, "there is no MLflow store"),
        ({"experiment": "x", "tracking_uri": str(api / "nowhere")}, "there is no MLflow store"),
    ):
        with pytest.raises(StudyDefinitionError, match=expected):
            run_study(study(warm_start={"studies": [told]}), directory=StateDirectory(root=api / "state"))
    assert file.read_bytes() == content
    assert not (api / "state").exists()


def test_the_command_names_the_line(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.failure = StudyDefinitionError("no study 'old'", key="warm_start.studies.0")
    Path("mine.yaml").write_text(
        "study: mine\nseed: 0\nmodel: {class_path: a.B}\nobjective: {monitor: v, direction: maximize}\n"
        "space: {model.x: {linear: [0, 1]}}\nstages: [{name: only, n_trials: 1, max_epochs: 1}]\n"
        "warm_start:\n  studies:\n    - old\n"
    )
    assert call(studies, "run", "mine.yaml") == 2
    assert "mine.yaml:9: warm_start.studies.0: no study 'old'" in capsys.readouterr().err.replace("\n", "")
    for command in (["run"], ["run", "--dry-run"], ["check"]):
        assert call(studies, *command, "mine.yaml", "--set", "warm_start.studies=[old]") == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "mine.yaml: warm_start.studies.0: no study 'old'" in told
        assert "(It comes from `--set warm_start.studies=[old]`.)" in told


def test_a_preview_says_what_would_be_taken(api: Path) -> None:
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": foreign(api)}]})
    preview = preview_study(definition, directory=StateDirectory(root=api / "state"))
    told = [each for each in preview.inspection.notices if each.startswith("warm start")]
    assert told == [
        "warm start: 4 trials of study 'theirs' are taken as evidence.",
        "warm start: tried first are theirs, trial 0; theirs, trial 1.",
    ]


def test_passwords_of_earlier_stores_are_recorded_nowhere_and_are_no_edit(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@host/optuna"
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri}]})
    journal = tmp_path / "optuna.journal"
    stored = StudyStore(f"journal://{journal}", create=True).create(definition, directory=tmp_path)
    assert b"secret" not in journal.read_bytes()
    assert edits_of(stored, definition) == ()
    other = study(warm_start={"studies": [{"study": "others", "storage": uri}]})
    assert [each.line for each in edits_of(stored, other)] == ["warm_start.studies.0.study: theirs -> others"]
    assert all(each.refusal for each in edits_of(stored, other))


# ---- the half-recorded study of a crash ------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_crash_left_of_another_past_is_gone(api: Path) -> None:
    state = StateDirectory(root=api / "state")
    store = StudyStore(default_storage(state), create=True)
    home = state.make(state.study("bell").directory)
    first = store.create(study(), directory=home)
    assert first.past().starting_points == ()
    raw = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(default_storage(state).removeprefix("journal://"))
    )
    left = optuna.create_study(storage=raw, study_name="left", direction="maximize")
    left.set_user_attr("zeroin.past.starting_points", [{"hyperparameters": {RATE: 1e-3}, "origin": "x"}])
    assert store.create(study("left"), directory=home).past().starting_points == ()
    assert store.names() == ("bell", "left")


@pytest.mark.usefixtures("untracked")
def test_a_study_is_resumed_by_its_name_without_its_past(api: Path) -> None:
    state = StateDirectory(root=api / "state")
    uri = foreign(api)
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri}]}, stages=STAGES[:1])
    store = StudyStore(default_storage(state), create=True)
    store.create(definition, directory=state.make(state.study("bell").directory))  # killed right afterwards
    (api / "theirs.db").unlink()
    assert len(resume_study("bell", directory=state).trials) == 16


@pytest.mark.usefixtures("untracked")
def test_two_studies_of_one_name_have_each_their_points(tmp_path: Path) -> None:
    uris = []
    for name, best in (("one", 1e-4), ("other", 1e-2)):
        (tmp_path / name).mkdir()
        uris.append(foreign(tmp_path / name, values=(best, 1e-5, 2e-5, 4e-5)))
    definition = study(warm_start={"studies": [{"study": "theirs", "storage": uri} for uri in uris]})
    record = run_session(StateDirectory(root=tmp_path / "state"), VirtualEngine(), definition)
    first = [(each.record.hyperparameters[RATE], each.record.origin) for each in record.trials[:2]]
    assert first == [(1e-4, "theirs, trial 0"), (1e-2, "theirs, trial 0")]


@pytest.mark.usefixtures("untracked")
def test_a_study_draws_by_what_was_recorded_when_it_began(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "state")
    run_session(state, VirtualEngine(), study("first", stages=STAGES[:1]))
    run_session(state, VirtualEngine(), study("second", warm_start={"studies": ["first"]}))
    stored = StudyStore(default_storage(state), create=False)
    seeds = {name: stored.open(name).past().seed for name in ("first", "second")}
    assert seeds["first"] is None
    assert seeds["second"] not in (None, study().seed)
