"""Trials of an earlier study in an Optuna storage, zeroin's own or any other program's; nothing is written."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState

from search.comparable_rewards import comparable_observations
from search.database_driver import has_table
from search.errors import StudyConflictError, StudyNotFoundError, did_you_mean
from search.optuna_storage import OpenedStorage, open_storage
from search.past import PastTrial
from search.patience import Patient
from search.reward import score
from search.storage.stored_study import DEFINITION, StoredStudy
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial
from search.uris import local_path, masked

_MOST_NAMES = 20


def past_trials(uri: str, name: str, *, objective: Objective) -> list[PastTrial]:
    """Return the finished trials of a study; of a zeroin study with rewards comparable across its stages.

    Args:
        uri: ``journal://`` and the path of a journal file, or a database URL for Optuna's ``RDBStorage``.
        name: Of the study.
        objective: What the new study optimizes.

    Raises:
        StudyNotFoundError: If there is no such storage, or no such study in it.
        StudyConflictError: If the study optimizes something else; or several things, and is not one of zeroin's.
        StateError: If the storage cannot be opened, or is none.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = local_path(uri)
    if file is not None and not (file.is_file() if uri.startswith("journal://") else has_table(file, "studies")):
        raise StudyNotFoundError(f"there is no Optuna storage {masked(uri)}.")
    with closing(open_storage(uri, create_tables=False)) as opened:
        return _read(opened, uri, name, objective)


def _read(opened: OpenedStorage, uri: str, name: str, objective: Objective) -> list[PastTrial]:
    storage = cast(BaseStorage, Patient(opened.storage, patience=opened.patience))
    names = sorted(study.study_name for study in storage.get_all_studies())
    if name not in names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        raise StudyNotFoundError(
            f"no study {name!r} in {masked(uri)}; it has {', '.join(names[:_MOST_NAMES]) or 'none'}{more}."
            f"{did_you_mean(name, names)}"
        )
    study_id = storage.get_study_id_from_name(name)
    directions = storage.get_study_directions(study_id)
    if DEFINITION in storage.get_study_user_attrs(study_id):
        _require_direction(directions[:1], name, objective.direction)
        return _own_trials(StoredStudy(opened, study_id), objective)
    _require_direction(directions, name, objective.direction)
    return [
        PastTrial(hyperparameters=trial.params, reward=value, name=f"trial {trial.number}")
        for trial in storage.get_all_trials(study_id, deepcopy=False)
        if trial.state is OptunaState.COMPLETE and (value := trial.value) is not None and math.isfinite(value)
    ]


def _require_direction(directions: list[StudyDirection], name: str, direction: Direction) -> None:
    if len(directions) != 1:
        raise StudyConflictError(f"study {name!r} must have one objective, but has {len(directions)}.")
    found = directions[0].name.lower()
    if found != direction.value:
        raise StudyConflictError(
            f"study {name!r} must {direction.value} as this one does, but its direction is {found}."
        )


def _own_trials(study: StoredStudy, objective: Objective) -> list[PastTrial]:
    """Return the trials of a zeroin study, by the monitored metric without the gap, which the storage has of one epoch.

    What a trial of few epochs would have gained with more is added as narrowing adds it, and a diverged one counts as
    the worst.
    """
    own = study.definition.objective
    if own.monitor != objective.monitor:
        raise StudyConflictError(
            f"study {study.name!r} must monitor {objective.monitor} as this one does, but monitors {own.monitor}."
        )
    plain = _judged_by(own, objective)
    finished = [
        FinishedTrial(record=record, score=score(record, plain))
        for record in study.trials()
        if record.state.is_finished
    ]
    return [
        PastTrial(
            hyperparameters=each.hyperparameters,
            reward=each.reward,
            name=f"trial {each.number}",
            may_be_best=each.may_be_best,
        )
        for each in comparable_observations(finished, objective=plain)
    ]


def _judged_by(own: Objective, objective: Objective) -> Objective:
    """Return what ranks a zeroin study's trials: the new study's constraints and further objectives, if both have them.

    What these are about is stored for one epoch of a trial, that of its best reward, which a gap weight may have moved.
    """
    same = replace(own, gap_weight=0.0, further=objective.further, constraints=objective.constraints)
    if own.gap_weight == 0.0 and set(same.measured_metrics) <= set(own.measured_metrics):
        return same
    return replace(same, further=(), constraints=())
