"""A study as its stores know it, read without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from search.coordinator.stores import StoreUris
from search.epoch_log import read_epoch_log
from search.errors import StateError
from search.lease import is_held
from search.paths import StateDirectory, StudyPaths
from search.reward import score
from search.storage import StoredStudy
from search.study_record import ScoredTrial, StudyRecord, StudyState
from search.trial import TrialRecord, TrialState
from search.uris import masked


def read_record(
    study: StoredStudy, state: StateDirectory, uris: StoreUris, *, is_running: bool | None = None
) -> StudyRecord:
    """Return everything known about a study.

    Args:
        study: The study in its Optuna storage.
        state: Where its epoch logs are; a trial without a log there is told from the storage alone.
        uris: Its stores, to be shown.
        is_running: Whether a coordinator works on it, None to look at its lease.
    """
    paths = state.study(study.name)
    result = study.result()
    running = is_held(paths.lease) if is_running is None else is_running
    trials = []
    for stored in study.trials():
        record = read_epoch_log(paths.trial(stored.key).epoch_log, study_uid=study.uid) or stored
        if not running and not record.state.is_finished:
            record = replace(record, state=TrialState.INTERRUPTED)
        trials.append(_scored(record, study))
    if running:
        study_state = StudyState.RUNNING
    else:
        study_state = StudyState.FINISHED if study.is_delivered else StudyState.UNFINISHED
    return StudyRecord(
        definition=study.definition,
        state=study_state,
        openings=study.openings(),
        trials=tuple(trials),
        result=result,
        storage=masked(uris.storage),
        tracking_uri=masked(uris.tracking),
        directory=str(paths.directory),
        spent=study.spent.with_logged(each.record for each in trials),
        bookkeeping_seconds=study.bookkeeping_seconds,
        early_end=study.early_end(),
        finish_has_begun=study.finish_plan() is not None,
        model_uri=study.model_uri if result is not None and result.is_packaged else "",
        device_use=study.device_use if result is None else result.device_use,
    )


def logged_records(paths: StudyPaths, study_uid: str) -> Iterator[TrialRecord]:
    """Yield what the logs of a study's trials and runs of its finish have."""
    for path in paths.epoch_logs():
        with suppress(StateError):  # of a study that had this directory before; a damaged one is told where it is used
            record = read_epoch_log(path, study_uid=study_uid)
            if record is not None:
                yield record


def _scored(record: TrialRecord, study: StoredStudy) -> ScoredTrial:
    return ScoredTrial(record=record, score=score(record, study.definition.objective))
