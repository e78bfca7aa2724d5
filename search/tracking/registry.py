"""A study's models in MLflow's model registry: one version for each finish, whatever crashed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.study_record import StudyRecord, StudyResult
from search.tracking.experiments import UID_TAG, experiment_names
from search.tracking.paging import all_pages
from search.tracking.pyfunc_model import save_pyfunc_model
from search.tracking.study_rows import test_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

FINISH_TAG = "zeroin.finish"
"""Tag of a version: the finish that it comes from, by the time of its result."""

_TRANSIENT = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "ABORTED", "CANCELLED")
_NO_REGISTRY = ("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED")


class RegistrationRefusedError(Exception):
    """The model will not be registered, however often it is tried; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A packaged model to be registered.

    Attributes:
        record: The study.
        result: Its result.
        package: The file that a worker has written.
    """

    record: StudyRecord
    result: StudyResult
    package: Path


class ModelRegistry:
    """The registered model of one study.

    Its name is the study's, unless another study or a user has a model of that name.

    Args:
        client: MLflow's client.
        study_uid: Identifier of the study.
    """

    def __init__(self, client: MlflowClient, *, study_uid: str) -> None:
        self._client = client
        self._study_uid = study_uid

    def release(self, release: Release, *, run_id: str) -> str:
        """Register the model, unless a version of this finish is there already.

        Args:
            release: The model.
            run_id: The study's run, among whose artifacts the model is kept.

        Returns:
            ``models:/NAME/VERSION``.

        Raises:
            RegistrationRefusedError: If there is no registry, or it does not take the model.
            Exception: Whatever MLflow, its artifact store or the network raise; may be called again then.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._release(release, run_id=run_id)
        except MlflowException as error:
            if error.error_code in _TRANSIENT:
                raise
            raise RegistrationRefusedError(str(error)) from error

    def _release(self, release: Release, *, run_id: str) -> str:
        name = self._own_name(release.record.definition.study)
        finish = str(release.result.time_ms)
        known = [each for each in self._versions(name) if each.tags.get(FINISH_TAG) == finish]
        version = known[0] if known else self._create(release, name=name, finish=finish, run_id=run_id)
        return f"models:/{name}/{version.version}"

    def _own_name(self, study_name: str) -> str:
        """Return the name of the study's registered model, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        for name in experiment_names(study_name, self._study_uid):
            tags = _model_tags(self._client, name)
            if tags is None:
                try:
                    self._client.create_registered_model(name, tags={UID_TAG: self._study_uid})
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                tags = _model_tags(self._client, name)
            if tags is not None and tags.get(UID_TAG) == self._study_uid:
                return name
        raise RegistrationRefusedError(f"the names {experiment_names(study_name, self._study_uid)} are taken by others")

    def _create(self, release: Release, *, name: str, finish: str, run_id: str) -> ModelVersion:
        tags = _tags(release.record, release.result)
        folder = f"model-{finish}"
        with tempfile.TemporaryDirectory(prefix="zeroin-model-") as temporary:
            directory = Path(temporary) / folder
            try:
                save_pyfunc_model(release.package, directory, metadata=tags)
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise RegistrationRefusedError(f"{type(error).__name__}: {error}") from error
            self._client.log_artifacts(run_id, str(directory), folder)
        return self._client.create_model_version(
            name,
            source=f"{self._client.get_run(run_id).info.artifact_uri}/{folder}",
            run_id=run_id,
            tags={**tags, UID_TAG: self._study_uid, FINISH_TAG: finish},
            description=_description(release.record, release.result),
            await_creation_for=0,
        )

    def _versions(self, name: str) -> list[ModelVersion]:
        return all_pages(self._client.search_model_versions, f"name = '{name}'")


def remove_models(client: MlflowClient, study_name: str, *, study_uid: str) -> None:
    """Remove the study's registered model; one that holds versions of others loses the study's alone.

    Nothing happens where there is no registry.
    """
    from mlflow.exceptions import MlflowException

    for name in experiment_names(study_name, study_uid):
        try:
            tags = _model_tags(client, name)
        except MlflowException as error:
            if error.error_code in _NO_REGISTRY:
                return
            raise
        if tags is None or tags.get(UID_TAG) != study_uid:
            continue
        versions = all_pages(client.search_model_versions, f"name = '{name}'")
        own = [each for each in versions if each.tags.get(UID_TAG) == study_uid]
        if len(own) == len(versions):
            client.delete_registered_model(name)
        else:
            for version in own:
                client.delete_model_version(name, version.version)


def _model_tags(client: MlflowClient, name: str) -> Mapping[str, str] | None:
    """Return the tags of a registered model, None if there is none of that name."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(name).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _tags(record: StudyRecord, result: StudyResult) -> dict[str, str]:
    """Return what the model was made by, and what it was worth on the test split."""
    winner = next(each.record for each in record.trials if each.record.number == result.best_trial_number)
    is_ensemble = _is_ensemble(record)
    members = result.refit_keys if is_ensemble else result.refit_keys[:1]
    readings = result.test_ensemble if is_ensemble else next(iter(result.test_members), {})
    return {
        "zeroin.study": record.definition.study,
        "zeroin.trial": winner.key,
        "zeroin.members": ", ".join(members),
        "zeroin.refit_epochs": str(result.refit_epochs),
        "zeroin.n_test_readings": str(result.n_test_readings),
        **{name: str(value) for name, value in winner.hyperparameters.items()},
        **{test_name(name): f"{value:.6g}" for name, value in readings.items()},
    }


def _description(record: StudyRecord, result: StudyResult) -> str:
    n_members = result.n_model_members(record.definition.finish)
    what = f"Ensemble of {n_members}" if n_members > 1 else "One model"
    return (
        f"{what}, trained for {result.refit_epochs} epochs on train and validation data of {record.definition.study}."
    )


def _is_ensemble(record: StudyRecord) -> bool:
    finish = record.definition.finish
    return finish is not None and finish.averages
