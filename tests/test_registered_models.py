"""The model of a finished study in MLflow's model registry, whatever happens on the way there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from study_runs import Listener, run_session
from virtual_engine import Faults, KilledError, VirtualEngine, usual_test

from search.messages import PackageAssignment, PackageResult, TestAssignment, TestResult
from search.model_package import CODE, DATA, EXAMPLES_NAME, PackageDescription, write_description
from search.paths import StateDirectory
from search.storage import StoredStudy
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import StudyRecord, StudyState
from search.tracking.registry import ModelRegistry, Release, remove_models

PLAIN: dict[str, Any] = {
    "study": "bell",
    "seed": 3,
    "model": {"class_path": "package.Net"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
    "stages": [{"name": "coarse", "n_trials": 2, "max_epochs": 1, "sampler": "qmc"}],
    "pruner": "none",
    "early_stopping": "none",
    "finish": {"top_k": 1, "n_seeds": 2, "ensemble": True},
}
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)

# Stands for what a worker writes: loading it takes no torch.
LOADER = """
import pandas as pd


class Model:
    def predict(self, images, params=None):
        n = len(images)
        return pd.DataFrame({"predicted": [1] * n, "probability_0": [0.25] * n, "probability_1": [0.75] * n})


def _load_pyfunc(path):
    return Model()
"""


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain(PLAIN | changes)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged model."""
    directory = tmp_path_factory.mktemp("package") / "model"
    for folder in (DATA, CODE):
        (directory / folder).mkdir(parents=True)
    (directory / DATA / "model.json").write_text("{}")
    (directory / CODE / "zeroin_model_of_tests.py").write_text(LOADER)
    np.save(directory / EXAMPLES_NAME, IMAGES)
    description = PackageDescription(
        loader_module="zeroin_model_of_tests",
        n_classes=2,
        has_class_names=False,
        has_preprocessing=True,
        requirements=("numpy",),
    )
    write_description(description, directory)
    return Path(shutil.make_archive(str(directory), "zip", directory))


Run = Callable[..., StudyRecord]


@pytest.fixture
def run(state: StateDirectory, package: Path) -> Run:
    """Run the study, or what is left of it; a worker's package is that of the tests."""
    checkpoints: dict[str, int] = {}

    def go(
        study: StudyDefinition | None = None,
        *,
        observer: Any = None,
        answer: Any = None,
        n_deaths: int = 0,
        test: Any = usual_test,
    ) -> StudyRecord:
        def pack(message: PackageAssignment) -> PackageResult:
            shutil.copy(package, message.file)
            return PackageResult(is_packaged=True, notices=("packed",))

        faults = Faults(dies_of={PackageAssignment: n_deaths})
        engine = VirtualEngine(checkpoints=checkpoints, package=answer or pack, faults=faults, test=test)
        return run_session(state, engine, study or definition(), observer=observer)

    return go


@pytest.fixture
def registry(state: StateDirectory) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")


def versions(registry: mlflow.MlflowClient, name: str = "bell") -> list[ModelVersion]:
    return list(registry.search_model_versions(f"name = '{name}'"))


@pytest.mark.slow
def test_a_finished_study_registers_its_model(
    run: Run, registry: mlflow.MlflowClient, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    record = run(observer=listener)
    assert listener.notices == []
    assert (record.state, record.model_uri) == (StudyState.FINISHED, "models:/bell/1")
    assert read_study("bell", directory=state).model_uri == "models:/bell/1"
    assert record.result is not None
    assert record.result.notices == ("packed",)
    (version,) = versions(registry)
    tags = version.tags
    assert (tags["zeroin.study"], tags["zeroin.n_test_readings"]) == ("bell", "1")
    assert tags["zeroin.members"] == "refit-seed0, refit-seed1"
    assert float(tags["test_acc"]) == record.result.test_ensemble["test_acc"]
    best = next(each.record for each in record.trials if each.record.number == record.result.best_trial_number)
    assert tags["zeroin.trial"] == best.key
    assert float(tags["model.learning_rate"]) == best.hyperparameters["model.learning_rate"]
    assert registry.get_run(version.run_id).data.tags["zeroin.study"] == "bell"

    # What a user does, in MLflow's own way.
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    mlflow.set_tracking_uri(record.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model(record.model_uri)
    finally:
        mlflow.set_tracking_uri(before)
    assert model.predict(IMAGES)["predicted"].tolist() == [1, 1]
    np.testing.assert_array_equal(model.input_example, IMAGES)
    signature = model.metadata.signature
    assert [(each.shape, each.type) for each in signature.inputs.inputs] == [((-1, 3, 2, 2), np.dtype(np.uint8))]
    assert signature.outputs.input_names() == ["predicted", "probability_0", "probability_1"]
    assert model.metadata.metadata["zeroin.trial"] == best.key
    with pytest.raises(MlflowException, match="does not match expected shape"):
        model.predict(IMAGES[:, :1])


@pytest.mark.slow
def test_a_kill_after_registering_leaves_one_version(
    run: Run, registry: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(study: StoredStudy, uri: str) -> None:
        raise KilledError

    with monkeypatch.context() as dying:
        dying.setattr(StoredStudy, "record_model_uri", die)
        with pytest.raises(KilledError):
            run()
    assert len(versions(registry)) == 1
    record = run()
    assert (record.state, record.model_uri) == (StudyState.FINISHED, "models:/bell/1")
    assert len(versions(registry)) == 1


@pytest.mark.slow
def test_an_outage_between_upload_and_registering_is_made_up_for(
    run: Run, registry: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    listener = Listener()
    with monkeypatch.context() as failing:
        failing.setattr(mlflow.MlflowClient, "create_model_version", fail)
        record = run(observer=listener)
    assert (record.state, record.model_uri) == (StudyState.UNFINISHED, "")
    (told,) = (each for each in listener.notices if "MLflow lacks the latest of" in each)
    assert "packaged model" in told and told.endswith("zeroin resume bell")
    assert versions(registry) == []
    record = run()
    assert (record.state, record.model_uri) == (StudyState.FINISHED, "models:/bell/1")


def test_without_a_registry_the_study_ends_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("no registry here", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(mlflow.MlflowClient, "get_registered_model", refuse)
    listener = Listener()
    record = run(observer=listener)
    assert (record.state, record.model_uri) == (StudyState.FINISHED, "")
    (notice,) = (each for each in listener.notices if "MLflow refused packaged model" in each)
    assert "no registry here" in notice


def test_a_damaged_package_is_told_and_not_registered(run: Run, registry: mlflow.MlflowClient) -> None:
    def damage(message: PackageAssignment) -> PackageResult:
        Path(message.file).write_bytes(b"half a zip")
        return PackageResult(is_packaged=True)

    listener = Listener()
    record = run(observer=listener, answer=damage)
    assert (record.state, record.model_uri) == (StudyState.FINISHED, "")
    assert any("MLflow refused packaged model" in each and "is damaged" in each for each in listener.notices)
    assert versions(registry) == []


def test_a_model_that_cannot_be_packaged_costs_the_study_nothing(run: Run, registry: mlflow.MlflowClient) -> None:
    record = run(answer=lambda message: PackageResult(is_packaged=False, error="ValueError: no", traceback="…"))
    assert record.state is StudyState.FINISHED
    assert record.result is not None
    assert record.result.test_ensemble == {"test_acc": 0.95}
    assert record.result.notices == ("no model was registered, since packaging it raised ValueError: no",)
    assert versions(registry) == []


@pytest.mark.parametrize(("n_deaths", "uri"), [(2, "models:/bell/1"), (3, "")])
def test_workers_that_die_of_packaging_cost_at_most_the_model(n_deaths: int, uri: str, run: Run) -> None:
    record = run(n_deaths=n_deaths)
    assert (record.state, record.model_uri) == (StudyState.FINISHED, uri)
    assert record.result is not None
    assert record.result.test_ensemble == {"test_acc": 0.95}
    given_up = [each for each in record.result.notices if "no model was registered" in each and "SIGSEGV" in each]
    assert len(given_up) == (0 if uri else 1)


def test_nothing_is_packaged_where_nothing_is_to_be_registered(run: Run, registry: mlflow.MlflowClient) -> None:
    asked: list[PackageAssignment] = []
    finish = {"top_k": 1, "n_seeds": 1, "register": False}
    record = run(definition(finish=finish), answer=asked.append)
    assert (record.state, record.model_uri, asked) == (StudyState.FINISHED, "", [])


@pytest.mark.parametrize(("ensemble", "keys"), [(True, ("refit-seed0", "refit-seed1")), (False, ("refit-seed0",))])
def test_the_members_of_the_ensemble_are_packaged_or_the_first(
    ensemble: bool, keys: tuple[str, ...], run: Run, state: StateDirectory
) -> None:
    asked: list[PackageAssignment] = []

    def note(message: PackageAssignment) -> PackageResult:
        asked.append(message)
        return PackageResult(is_packaged=False)

    run(definition(finish={"top_k": 1, "n_seeds": 2, "ensemble": ensemble}), answer=note)
    (message,) = asked
    assert message.trial_keys == keys
    assert message.directories == tuple(str(state.study("bell").trial(key).directory) for key in keys)


def test_a_version_of_a_single_member_says_so(run: Run, registry: mlflow.MlflowClient) -> None:
    run(definition(finish={"top_k": 1, "n_seeds": 2, "ensemble": False}))
    (version,) = versions(registry)
    assert version.tags["zeroin.members"] == "refit-seed0"
    assert version.tags["test_acc"] == "0.9"
    assert version.description.startswith("One model, ")


def test_a_version_of_snapshots_counts_every_member(run: Run, registry: mlflow.MlflowClient) -> None:
    finish = {"top_k": 1, "n_seeds": 2, "ensemble": "last_n", "last_n": 2}
    run(definition(finish=finish), test=_two_members_a_refit)
    (version,) = versions(registry)
    assert version.tags["zeroin.members"] == "refit-seed0, refit-seed1"
    assert version.description.startswith("Ensemble of 4, ")


def _two_members_a_refit(assignment: TestAssignment) -> TestResult:
    usual = usual_test(assignment)
    n_refits = len(assignment.trial_keys)
    return replace(usual, members=usual.members * 2, sizes=(2,) * n_refits)


def test_a_name_that_somebody_else_has_is_left_to_them(run: Run, registry: mlflow.MlflowClient) -> None:
    registry.create_registered_model("bell")
    record = run()
    assert versions(registry) == []
    name = record.model_uri.split("/")[1]
    assert name.startswith("bell-")
    assert len(versions(registry, name)) == 1


def test_another_finish_is_another_version(run: Run, registry: mlflow.MlflowClient, state: StateDirectory) -> None:
    record = run()
    assert record.result is not None
    (version,) = versions(registry)
    model = ModelRegistry(registry, study_uid=version.tags["zeroin.study_uid"])
    again = Release(record=record, result=record.result, package=state.study("bell").model_package)
    assert model.release(again, run_id=version.run_id) == "models:/bell/1"
    later = replace(again, result=replace(record.result, time_ms=record.result.time_ms + 1))
    assert model.release(later, run_id=version.run_id) == "models:/bell/2"
    assert {each.source for each in versions(registry)} == {
        f"{registry.get_run(version.run_id).info.artifact_uri}/model-{record.result.time_ms + extra}"
        for extra in (0, 1)
    }


def test_deleting_a_study_deletes_its_model_but_no_versions_of_others(run: Run, registry: mlflow.MlflowClient) -> None:
    run()
    (version,) = versions(registry)
    uid = version.tags["zeroin.study_uid"]
    remove_models(registry, "bell", study_uid="another")
    assert len(versions(registry)) == 1
    theirs = registry.create_model_version("bell", source=version.source)
    remove_models(registry, "bell", study_uid=uid)
    assert [each.version for each in versions(registry)] == [theirs.version]
    registry.delete_model_version("bell", theirs.version)
    remove_models(registry, "bell", study_uid=uid)
    assert list(registry.search_registered_models()) == []
