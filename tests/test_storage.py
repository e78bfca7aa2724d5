import math
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search.errors import StateError, StudyNotFoundError
from search.narrowing import declared
from search.search_space import Choices, LogRange, SearchSpace
from search.storage import StoredStudy, StudyStore, distributions
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain, space_from_plain
from search.study_record import FinishPlan, Spent, StageOpening
from search.trial import Score, TrialRecord, TrialState

DEFINITION: StudyDefinition = definition_from_plain(
    {
        "study": "stored",
        "seed": 1,
        "model": {"class_path": "package.Net"},
        "objective": {"monitor": "val_acc", "direction": "maximize"},
        "space": {
            "model.optimizer": {"choice": ["sgd", "adamw"]},
            "model.learning_rate": {"log": [1.0e-4, 1.0e-1]},
            "model.dropout": {"log": [0.01, 0.8], "or_zero": 0.1},
            "model.momentum": {"one_minus_log": [0.5, 0.99], "when": {"model.optimizer": ["sgd"]}},
            "model.width": {"int_log": [8, 64]},
        },
        "stages": [{"name": "only", "n_trials": 4, "max_epochs": 3}],
    }
)

HYPERPARAMETERS = {
    "model.optimizer": "sgd",
    "model.learning_rate": 1e-2,
    "model.dropout": 0.0,
    "model.momentum": 0.9,
    "model.width": 16,
}


def uri_of(kind: str, directory: Path) -> str:
    return f"journal://{directory / 'optuna.journal'}" if kind == "journal" else f"sqlite:///{directory / 'optuna.db'}"


@pytest.fixture(params=["journal", "sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return uri_of(request.param, tmp_path)


def running(number: int) -> TrialRecord:
    return TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="only",
        hyperparameters=HYPERPARAMETERS,
        seed=5,
        n_epochs=3,
        horizon_epochs=3,
        started_ms=1_790_000_000_000,
    )


def ended(record: TrialRecord, state: TrialState) -> TrialRecord:
    return replace(record, state=state, reason="why", finished_ms=1_790_000_001_000)


HOME = Path("/somewhere/trials/stored")

SCORE = Score(reward=0.9, best_value=0.9, best_epoch=2, gap_at_best=0.05)


def reopened(uri: str) -> StoredStudy:
    return StudyStore(uri, create=False).open("stored")


def test_a_study_is_read_back_as_it_was_defined(uri: str) -> None:
    StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    assert StudyStore(uri, create=False).names() == ("stored",)
    assert reopened(uri).definition == DEFINITION


def test_a_trial_is_read_back_by_us_and_by_optuna(uri: str) -> None:
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    assert study.add_trial(running(0)) == 0
    study.report(0, epoch=1, value=0.4)
    study.report(0, epoch=2, value=0.9)
    again = reopened(uri)
    assert again.n_trials == 1
    assert [trial.state for trial in again.trials()] == [TrialState.RUNNING]
    study.finish(ended(running(0), TrialState.STOPPED_EARLY), SCORE)
    (record,) = reopened(uri).trials()
    assert (record.state, record.reason, record.seed) == (TrialState.STOPPED_EARLY, "why", 5)
    assert record.hyperparameters == HYPERPARAMETERS
    assert record.curve("val_acc") == (0.4, 0.9)
    assert record.started_ms == 1_790_000_000_000

    storage: object = (
        uri
        if uri.startswith("sqlite")
        else optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(uri.removeprefix("journal://")))
    )
    theirs = optuna.load_study(study_name="stored", storage=storage)  # type: ignore[arg-type]
    assert theirs.best_value == 0.9
    assert theirs.best_params == HYPERPARAMETERS
    assert theirs.trials[0].intermediate_values == {1: 0.4, 2: 0.9}


@pytest.mark.parametrize(
    ("state", "score", "expected", "value"),
    [
        (TrialState.COMPLETE, SCORE, optuna.trial.TrialState.COMPLETE, 0.9),
        (TrialState.PRUNED, SCORE, optuna.trial.TrialState.PRUNED, 0.9),
        (TrialState.FAILED, None, optuna.trial.TrialState.FAIL, None),
        (
            TrialState.DIVERGED,
            Score(reward=-math.inf, best_value=math.nan, best_epoch=0, gap_at_best=math.nan),
            optuna.trial.TrialState.PRUNED,
            None,
        ),
    ],
)
def test_each_end_has_its_optuna_state(
    tmp_path: Path, state: TrialState, score: Score | None, expected: optuna.trial.TrialState, value: float | None
) -> None:
    uri = uri_of("sqlite", tmp_path)
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    study.add_trial(running(0))
    study.finish(ended(running(0), state), score)
    trial = optuna.load_study(study_name="stored", storage=uri).trials[0]
    assert (trial.state, trial.value, trial.user_attrs["zeroin.outcome"]["state"]) == (expected, value, state.value)


def test_a_trial_ends_once(uri: str) -> None:
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    study.add_trial(running(0))
    study.finish(ended(running(0), TrialState.COMPLETE), SCORE)
    study.finish(ended(running(0), TrialState.FAILED), None)
    assert reopened(uri).trials()[0].state is TrialState.COMPLETE


def test_openings_and_accounts_are_read_back(uri: str) -> None:
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    opening = StageOpening(index=0, name="only", narrowed=declared(DEFINITION.space), first_trial_number=0, time_ms=12)
    study.record_opening(opening)
    study.count_test_reading()
    spent = Spent(wall_seconds=5.0, worker_seconds=8.0, device_seconds=4.0, n_epochs=7, n_workers=2)
    study.record_spent(spent, device_use={"training": 7.5})
    study.add_bookkeeping({"asking": 0.5})
    study.add_bookkeeping({"asking": 0.25, "storage": 1.0})
    plan = FinishPlan(top_k=2, n_seeds=1, n_refits=1)
    study.record_finish_plan(plan)
    again = reopened(uri)
    assert again.openings() == (opening,)
    assert again.n_test_readings == 1
    assert (again.spent, again.device_use) == (spent, {"training": 7.5})
    assert again.finish_plan() == plan
    assert again.bookkeeping_seconds == {"asking": 0.75, "storage": 1.0}
    assert again.result() is None


def test_a_journal_cut_short_by_a_crash_goes_on(tmp_path: Path) -> None:
    uri = uri_of("journal", tmp_path)
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    study.add_trial(running(0))
    path = tmp_path / "optuna.journal"
    whole = path.read_bytes()
    study.add_trial(running(1))
    path.write_bytes(path.read_bytes()[: len(whole) + 40])
    assert len(reopened(uri).trials()) == 1
    assert reopened(uri).add_trial(running(1)) == 1
    assert [trial.number for trial in reopened(uri).trials()] == [0, 1]


def test_optunas_own_journal_reads_and_continues_what_we_wrote(tmp_path: Path) -> None:
    uri = uri_of("journal", tmp_path)
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    study.add_trial(running(0))
    theirs = optuna.load_study(
        study_name="stored",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
        ),
    )
    theirs.set_user_attr("note", "from a dashboard")
    study.report(0, epoch=1, value=0.5)
    assert theirs.trials[0].intermediate_values == {1: 0.5}
    assert reopened(uri).trials()[0].curve("val_acc") == (0.5,)


def test_a_deleted_study_is_gone(uri: str) -> None:
    store = StudyStore(uri, create=True)
    store.create(DEFINITION, directory=HOME)
    store.delete("stored")
    assert StudyStore(uri, create=False).names() == ()


def test_looking_creates_nothing(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match="does not exist"):
        StudyStore(uri, create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_answered_with_those_there_are(uri: str) -> None:
    StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    with pytest.raises(StudyNotFoundError, match=r"it has stored\. Did you mean 'stored'\?"):
        StudyStore(uri, create=False).open("storde")


@pytest.mark.slow
def test_a_study_that_a_crash_left_half_recorded_is_recorded_whole(tmp_path: Path) -> None:
    uri = uri_of("sqlite", tmp_path)
    optuna.create_study(storage=uri, study_name="stored", direction="maximize")
    study = StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    assert (study.definition, study.directory) == (DEFINITION, HOME)


@pytest.mark.slow
def test_a_database_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    uri = uri_of("sqlite", tmp_path)
    study = StudyStore(f"{uri}?timeout=0.1", create=True, patience_seconds=30.0).create(DEFINITION, directory=HOME)
    locking = sqlite3.connect(tmp_path / "optuna.db", check_same_thread=False, isolation_level=None)
    locking.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.0, locking.rollback)
    release.start()
    study.record_directory(HOME / "moved")
    release.join()
    locking.close()
    assert reopened(uri).directory == HOME / "moved"


def test_a_database_that_stays_locked_is_an_error_in_words(tmp_path: Path) -> None:
    uri = uri_of("sqlite", tmp_path)
    study = StudyStore(f"{uri}?timeout=0.1", create=True, patience_seconds=0.5).create(DEFINITION, directory=HOME)
    with closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as locking:
        locking.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateError, match="has not answered for"):
            study.record_directory(HOME / "moved")


def test_trials_of_strangers_are_refused_in_words(tmp_path: Path) -> None:
    uri = uri_of("sqlite", tmp_path)
    StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    optuna.load_study(study_name="stored", storage=uri).ask()
    with pytest.raises(StateError, match="was not made by zeroin"):
        reopened(uri).trials()


@pytest.mark.parametrize("plain", [{"int": [-5, 5]}, {"int": [-5, -2]}, {"linear": [-5.0, -1.0]}, {"int_log": [2, 8]}])
def test_an_extra_zero_lies_within_what_is_recorded(plain: dict[str, object]) -> None:
    dimension = space_from_plain({"model.x": {**plain, "or_zero": 0.2}})["model.x"]
    recorded = distributions(SearchSpace(dimensions=(dimension,)))["model.x"]
    for unit in (0.0, 0.1, 0.5, 1.0):  # Optuna refuses to make a trial with a value outside its distribution
        optuna.create_trial(
            value=0.0, params={"model.x": dimension.from_unit(unit)}, distributions={"model.x": recorded}
        )


def test_an_optuna_study_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    uri = uri_of("sqlite", tmp_path)
    optuna.create_study(storage=uri, study_name="stored").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(StateError, match="that zeroin did not make"):
        StudyStore(uri, create=True).create(DEFINITION, directory=HOME)
    assert StudyStore(uri, create=False).names() == ()


def test_a_storage_that_cannot_be_opened_is_an_error_without_the_password() -> None:
    with pytest.raises(StateError, match="cannot be opened") as caught:
        StudyStore("nonsense://user:secret@host/db", create=True)
    assert "secret" not in str(caught.value)


def test_trials_are_recorded_under_the_hard_limits() -> None:
    recorded = distributions(DEFINITION.space)
    limits = DEFINITION.space["model.learning_rate"].limits
    assert isinstance(limits, LogRange)
    assert recorded["model.learning_rate"] == optuna.distributions.FloatDistribution(limits.low, limits.high, log=True)
    dropout = DEFINITION.space["model.dropout"].limits
    assert not isinstance(dropout, Choices)
    assert recorded["model.dropout"] == optuna.distributions.FloatDistribution(0.0, dropout.high)
    assert recorded["model.width"] == optuna.distributions.IntDistribution(1, 640, log=True)
    assert recorded["model.optimizer"] == optuna.distributions.CategoricalDistribution(("sgd", "adamw"))
