from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from plain_study import BELL
from virtual_engine import VirtualEngine

from search.coordinator.stores import default_storage
from search.engines import choice
from search.errors import SearchError, StateError, StudyConflictError, StudyDefinitionError, StudyNotFoundError
from search.messages import ToWorker, TrialAssignment
from search.paths import StateDirectory
from search.storage import StudyStore
from search.studies_api import (
    check_study,
    delete_study,
    find_study,
    finish_study,
    list_studies,
    preview_study,
    read_study,
    resume_study,
    run_study,
)
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain, with_overrides
from search.study_record import StudyRecord, StudyState

PLAIN: dict[str, Any] = {
    **BELL,
    "stages": [{"name": "coarse", "n_trials": 2, "max_epochs": 1, "sampler": "random"}],
    "pruner": "none",
    "early_stopping": "none",
    "finish": "none",
}


@pytest.fixture
def state(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> StateDirectory:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice, "LocalEngine", lambda slots: VirtualEngine())
    directory = StateDirectory(root=tmp_path / "state")
    copied_mlflow_database(directory.mlflow_database)
    return directory


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain(PLAIN | changes)


def recorded(state: StateDirectory, name: str, *, storage: str | None = None) -> StudyDefinition:
    """Begin a study and train nothing."""
    study = definition(study=name)
    store = StudyStore(storage or default_storage(state), create=True)
    store.create(study, directory=state.make(state.study(name).directory))
    store.close()
    return study


def break_definition(state: StateDirectory, name: str) -> None:
    recorded(state, name)
    store = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(default_storage(state).removeprefix("journal://"))
    )
    store.set_study_user_attr(store.get_study_id_from_name(name), "zeroin.definition", {"of": "the future"})


def break_log(state: StateDirectory, name: str) -> None:
    log = state.study(name).trial("trial-0000").epoch_log
    state.make(log.parent)
    log.write_text("no entry\n")


def run(state: StateDirectory, study: StudyDefinition, **options: Any) -> Any:
    return run_study(study, directory=state, devices="cpu:1", **options)


def test_a_study_that_cannot_be_read_stands_in_no_other_studys_way(state: StateDirectory) -> None:
    break_definition(state, "broken")
    record = run(state, definition())
    assert record.state is StudyState.FINISHED
    assert run(state, definition()).trials == record.trials  # a finished study is only read
    assert run(state, definition(), new=True).definition.study == "bell-2"
    by_name = {each.name: each for each in list_studies(directory=state)}
    assert list(by_name) == ["bell", "bell-2", "broken"]
    assert by_name["bell"].error == "" and by_name["bell"].n_finished == 2
    assert by_name["broken"].error and by_name["broken"].n_finished == 0


@pytest.mark.slow
def test_a_damaged_log_is_told_in_the_list_and_the_study_can_be_deleted(state: StateDirectory) -> None:
    study = run(state, definition()).definition
    break_log(state, study.study)
    with pytest.raises(StateError, match=r"epochs\.jsonl"):
        read_study("bell", directory=state)
    (summary,) = list_studies(directory=state)
    assert "epochs.jsonl:1" in summary.error
    found = find_study("bell", directory=state)
    assert (found.definition, found.is_running) == (study, False)
    removed = delete_study("bell", directory=state)
    assert len(removed) == 3
    assert list_studies(directory=state) == []
    assert not state.study("bell").directory.exists()
    with pytest.raises(StudyNotFoundError):
        find_study("bell", directory=state)


def test_deleting_leaves_a_study_of_the_same_name_in_another_storage_alone(
    state: StateDirectory, tmp_path: Path
) -> None:
    here = run(state, definition())
    other = StateDirectory(root=tmp_path / "other")
    recorded(other, "bell", storage="journal://other.journal")
    delete_study("bell", directory=state, storage="other.journal")
    assert not other.study("bell").directory.exists()
    assert read_study("bell", directory=state).trials == here.trials


@pytest.mark.parametrize("call", [run_study, preview_study, check_study])
@pytest.mark.parametrize(
    ("given", "hint"), [("b.yaml", r"load_study_file\('b.yaml'\)"), ({"study": "b"}, "definition_from_plain")]
)
def test_what_is_no_definition_is_refused_with_what_makes_one(
    call: Callable[[Any], object], given: object, hint: str
) -> None:
    with pytest.raises(StudyDefinitionError, match=f"must be a StudyDefinition, but got .*{hint}"):
        call(given)


def test_another_definition_of_a_recorded_study_is_refused(state: StateDirectory) -> None:
    recorded(state, "bell")
    with pytest.raises(StudyConflictError, match="seed: 3 -> 4"):
        run(state, definition(seed=4))


def test_the_stores_are_no_part_of_what_a_study_is(state: StateDirectory, tmp_path: Path) -> None:
    first = run(state, definition(), storage="journal://x.journal", tracking_uri="sqlite:///state/mlflow.db")
    again = run(state, definition(storage="x.journal"))
    assert again.trials == first.trials
    assert again.tracking_uri == f"sqlite:///{tmp_path}/state/mlflow.db"  # as it began


def test_stores_are_recorded_so_that_they_are_found_from_every_directory(
    state: StateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(state, definition(), storage="x.journal", tracking_uri="sqlite:///state/mlflow.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    record = read_study("bell", directory=state, storage="../x.journal")
    assert record.definition.storage == f"journal://{tmp_path}/x.journal"
    assert record.definition.tracking_uri == record.tracking_uri == f"sqlite:///{tmp_path}/state/mlflow.db"


def test_options_of_sqlite_are_no_part_of_the_file_name(state: StateDirectory, tmp_path: Path) -> None:
    recorded(state, "bell", storage="sqlite:///x.db?timeout=30")
    assert (tmp_path / "x.db").is_file()
    assert find_study("bell", directory=state, storage="sqlite:///x.db?timeout=9").definition == definition()


def test_a_preview_says_what_a_run_would_do(state: StateDirectory) -> None:
    def preview(study: StudyDefinition, **options: Any) -> tuple[str, StudyState | None, tuple[str, ...]]:
        seen = preview_study(study, directory=state, devices="cpu:1", **options)
        return seen.name, seen.state, tuple(edit.line for edit in seen.edits if edit.refusal)

    assert preview(definition()) == ("bell", None, ())
    assert not state.optuna_journal.exists()  # nothing is created
    recorded(state, "bell")
    assert preview(definition()) == ("bell", StudyState.UNFINISHED, ())
    assert preview(definition(seed=4)) == ("bell", StudyState.UNFINISHED, ("seed: 3 -> 4",))
    assert preview(definition(seed=4), new=True) == ("bell-2", None, ())
    run(state, definition())
    assert preview(replace(definition(), tracking_uri="sqlite:///elsewhere.db")) == ("bell", StudyState.FINISHED, ())
    assert not Path("elsewhere.db").exists()


def test_checkpoints_that_cannot_be_had_are_told_before_anything_begins(state: StateDirectory) -> None:
    study = definition(checkpoints="no-such-protocol://x")
    for attempt in (preview_study, run_study):
        with pytest.raises(StateError, match="no-such-protocol"):
            attempt(study, directory=state, devices="cpu:1")
    assert not state.optuna_journal.exists()


def test_an_edited_study_is_resumed_on_the_engine_that_is_asked_for(state: StateDirectory) -> None:
    recorded(state, "bell")
    edited = with_overrides(definition(), ["stages.coarse.n_trials=4"])
    with pytest.raises(SearchError, match="got 'rai'"):
        resume_study("bell", directory=state, engine="rai", edited=edited)
    with pytest.raises(SearchError, match="--ray-address"):
        resume_study("bell", directory=state, ray_address="10.0.0.1:6379", edited=edited)


@pytest.mark.parametrize("edited", [None, definition()])
@pytest.mark.parametrize("go_on", [resume_study, finish_study])
def test_a_study_that_is_not_there_cannot_be_resumed_or_finished(
    state: StateDirectory, go_on: Callable[..., StudyRecord], edited: StudyDefinition | None
) -> None:
    recorded(state, "other")
    with pytest.raises(StudyNotFoundError, match="it has other"):
        go_on("bell", directory=state, edited=edited)


SECRET = "tok-123456"
CHECKPOINTS = f"memory://me:{SECRET}@box/zeroin"


@pytest.mark.slow
def test_the_password_of_the_checkpoints_is_kept_for_their_owner_alone(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Engine(VirtualEngine):
        def send(self, worker: int, message: ToWorker) -> None:
            if isinstance(message, TrialAssignment):
                seen.append(message.checkpoints)
            super().send(worker, message)

    monkeypatch.setattr(choice, "LocalEngine", lambda slots: Engine())
    study = definition(checkpoints=CHECKPOINTS)
    shown = run(state, study).definition.checkpoints
    assert shown == "memory://me:***@box/zeroin"
    credentials = state.study("bell").credentials
    assert credentials.stat().st_mode & 0o777 == 0o600
    holding = {path for path in state.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()}
    assert holding == {credentials}

    rotated = CHECKPOINTS.replace(SECRET, "tok-654321")
    grown = with_overrides(replace(study, checkpoints=rotated), ["stages.coarse.n_trials=4"])
    assert [edit.line for edit in preview_study(grown, directory=state, devices="cpu:1").edits] == [
        "stages.0.n_trials: 2 -> 4"
    ]
    run(state, grown)
    store = StudyStore(default_storage(state), create=False)
    store.open("bell").forget_result()
    store.close()
    resume_study("bell", directory=state, devices="cpu:1")  # the full URL comes from its file
    again = with_overrides(definition(), ["stages.coarse.n_trials=5"])
    run(state, again)
    assert [url.rpartition("/zeroin/")[0] for url in seen] == [
        *2 * ["memory://me:tok-123456@box"],
        *3 * ["memory://me:tok-654321@box"],
    ]
    credentials.unlink()
    with pytest.raises(StateError, match=r"the password of the checkpoints memory://me:\*\*\*@box.*--checkpoints"):
        run(state, with_overrides(again, ["stages.coarse.n_trials=6"]))


@pytest.mark.slow
def test_a_study_without_a_finish_is_taken_up_again_and_one_with_a_finish_is_not(state: StateDirectory) -> None:
    assert len(run(state, definition()).trials) == 2
    grown = with_overrides(definition(), ["stages.coarse.n_trials=4"])
    record = run(state, grown)
    assert (record.state, len(record.trials), record.definition) == (StudyState.FINISHED, 4, grown)
    finished = with_overrides(grown, ["finish.top_k=1", "finish.n_seeds=1"])
    record = resume_study("bell", directory=state, devices="cpu:1", edited=finished)
    assert record.result is not None and record.result.n_test_readings == 1
    with pytest.raises(StudyConflictError, match=r"n_trials: 4 -> 5\n.*refused: the study is finished(.|\n)*--new"):
        run(state, with_overrides(finished, ["stages.coarse.n_trials=5"]))
    assert run(state, with_overrides(finished, ["resources.trials_per_device=2"])).result == record.result


@pytest.mark.parametrize("places", [{"engine": "abacus"}, {"ray_address": "10.0.0.1:6379"}])
def test_an_edited_study_is_resumed_on_the_engine_asked_for(state: StateDirectory, places: dict[str, str]) -> None:
    recorded(state, "bell")
    with pytest.raises(SearchError, match="--" + next(iter(places)).replace("_", "-")):
        resume_study("bell", directory=state, devices="cpu:1", edited=definition(), **places)
