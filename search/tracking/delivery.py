"""What of a study reaches MLflow, in which order; synchronous, for one thread."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from search.recorded_best import pareto_trials
from search.study_definition import StudyDefinition
from search.study_record import ScoredTrial, StageOpening, StudyRecord, StudyResult
from search.tracking.environment import environment_tags
from search.tracking.experiments import open_experiment
from search.tracking.pictures import pictures_of
from search.tracking.registry import ModelRegistry, RegistrationRefusedError, Release
from search.tracking.runs import ExperimentRuns, TrackedRun
from search.tracking.saved_view import experiment_tags
from search.tracking.study_note import NOTE_TAG, is_ours, ranges_note, result_note
from search.tracking.study_rows import (
    belief_rows,
    pareto_json,
    portfolio_rows,
    range_rows,
    ranges_json,
    result_json,
    result_rows,
    stage_best_rows,
    study_yaml,
    undone_early_end_rows,
)
from search.tracking.trial_rows import (
    PARETO_TAG,
    RUNNING,
    STATE_TAG,
    diagnosis_tags,
    epoch_rows,
    feasibility_tags,
    identity_tags,
    log_scale_rows,
    parameters,
    state_tags,
    status,
    summary_rows,
)
from search.trial import TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

BEST_TRIAL_TAG = "zeroin.best_trial"

_STUDY_UID = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyIdentity:
    """What the study's own run says from the start.

    Attributes:
        definition: The study; its name is the experiment's, unless another study has that one.
        study_uid: Tells studies of one name apart, to be found in all that belongs to this one; letters, digits and
            hyphens, the first eight of them different from study to study.
        artifact_root: Directory of artifacts, used where MLflow opens a database itself.
        working_directory: The user's, whose commit is recorded.
        tags: Further tags of the study's run.
        start_ms: When it began, Unix time in milliseconds.
    """

    definition: StudyDefinition
    study_uid: str
    artifact_root: Path
    working_directory: Path
    tags: dict[str, str]
    start_ms: int

    def __post_init__(self) -> None:
        """Refuse an identifier that could not stand in a name or in a query.

        Raises:
            ValueError: If it holds other characters, or none.
        """
        if not _STUDY_UID.fullmatch(self.study_uid):
            raise ValueError(f"study_uid must consist of letters, digits and hyphens, but got {self.study_uid!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The study stops without a result.

    Attributes:
        status: MLflow's status for the study's run; runs of unfinished trials are KILLED in any case.
        state: Value of the tag `zeroin.state`, likewise.
        reason: Why, in words.
        time_ms: Unix time in milliseconds.
    """

    status: str
    state: str
    reason: str
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoesOn:
    """The search has not ended early, or goes on although it once had.

    Attributes:
        time_ms: Unix time in milliseconds.
    """

    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The study ended with a result."""

    record: StudyRecord
    result: StudyResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What the refitted model has learnt to see.

    Attributes:
        views: The file that says it (see `search.tracking.pictures`).
    """

    views: Path


Item: TypeAlias = GoesOn | ScoredTrial | StageOpening | Outcome | Release | Pictures | Ending
"""What can be delivered."""

_ORDER: tuple[type[Item], ...] = (GoesOn, ScoredTrial, StageOpening, Outcome, Release, Pictures, Ending)
_REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")


def named(*items: Item) -> dict[str, Item]:
    """Return the items by name; a later snapshot of the same thing has the same name."""
    return {_name(item): item for item in items}


def delivery_order(items: Mapping[str, Item]) -> list[tuple[str, Item]]:
    """Return the items in the order they are delivered in: trials before what sums them up."""
    return sorted(items.items(), key=lambda pair: _ORDER.index(type(pair[1])))


def is_refusal(error: Exception) -> bool:
    """Whether MLflow will never take the item, so that trying again is no use (its run was deleted for good)."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, RegistrationRefusedError):
        return True
    return isinstance(error, MlflowException) and error.error_code in _REFUSALS


class Delivery:
    """Brings one study's experiment up to date.

    Creating it finds what the experiment holds already and sets the study's run going.
    """

    def __init__(self, client: MlflowClient, *, tracking_uri: str, identity: StudyIdentity) -> None:
        self._identity = identity
        self._openings: dict[int, StageOpening] = {}
        self._finished: dict[str, dict[str, ScoredTrial]] = {stage.name: {} for stage in identity.definition.stages}
        self._stages_told: set[str] = set()
        self._beliefs_told: set[str] = set()
        experiment = open_experiment(
            client,
            study_name=identity.definition.study,
            study_uid=identity.study_uid,
            tracking_uri=tracking_uri,
            artifact_root=identity.artifact_root,
            tags=experiment_tags(identity.definition, time_ms=identity.start_ms),
        )
        self._experiment_name = str(experiment.name)
        self._registry = ModelRegistry(client, study_uid=identity.study_uid)
        self._model_uri = ""
        self._runs = ExperimentRuns(client, experiment_id=experiment.experiment_id, study_uid=identity.study_uid)
        tags = {**environment_tags(identity.working_directory), **identity.tags, **state_tags("running", "")}
        self._source_tags = {name: text for name, text in tags.items() if name.startswith("mlflow.")}
        self._runs.open_parent(identity.definition.study, tags=tags, start_ms=identity.start_ms)
        self._runs.write_text(self._runs.parent, study_yaml(identity.definition), name="study.yaml")

    @property
    def experiment_name(self) -> str:
        """Name of the study's experiment."""
        return self._experiment_name

    @property
    def model_uri(self) -> str:
        """Under which the model is registered, empty as long as none has been."""
        return self._model_uri

    def deliver(self, item: Item) -> None:
        """Deliver one item, or what is missing of it.

        Raises:
            Exception: Whatever MLflow, its database driver or the network raise; may be called again then.
        """
        match item:
            case GoesOn():
                self._take_back_early_end(item.time_ms)
            case ScoredTrial():
                self._trial(item)
            case StageOpening():
                self._opening(item)
            case Outcome():
                self._outcome(item.record, item.result)
            case Release():
                self._model_uri = self._registry.release(item, run_id=self._runs.parent.run_id)
            case Pictures():
                self._pictures(item.views)
            case Ending():
                self._ending(item)

    def _take_back_early_end(self, time_ms: int) -> None:
        """Log over the figures of an early end, if an earlier session logged some."""
        step = len(self._identity.definition.stages)
        rows = undone_early_end_rows(self._runs.parent.metrics, step=step, time_ms=time_ms)
        self._runs.log(self._runs.parent, metrics=rows)

    def _trial(self, trial: ScoredTrial) -> None:
        """Bring one trial's run up to its record."""
        record = trial.record
        if record.stage in self._finished and record.number is not None and record.state.is_finished:
            self._finished[record.stage][record.key] = trial
        tags = {
            **state_tags(record.state.value, record.reason),
            **feasibility_tags(record, trial.score),
            **diagnosis_tags(record, self._identity.definition.objective),
        }
        run = self._runs.trial(
            record.key, tags={**self._source_tags, **identity_tags(record), **tags}, start_ms=record.started_ms
        )
        if not run.is_deleted and not _is_settled(run, trial):
            self._runs.reopen(run)
            self._runs.log(
                run,
                metrics=[
                    *epoch_rows(record, after_epoch=run.n_epochs or 0),
                    *summary_rows(record, trial.score, monitor=self._identity.definition.objective.monitor),
                    *log_scale_rows(record, self._identity.definition.space),
                ],
                parameters=parameters(record),
                tags=tags,
            )
            self._tell_beliefs(record)
            if status(record.state) != RUNNING:
                self._runs.terminate(run, status=status(record.state), end_ms=record.latest_ms)
            run.n_epochs = len(record.epochs)
        self._tell_finished_stages(search_is_over=False)

    def _tell_beliefs(self, record: TrialRecord) -> None:
        """Log in the study's run what the trial was chosen by, once, and before the trial's own run ends."""
        if record.key not in self._beliefs_told:
            self._runs.log(self._runs.parent, metrics=belief_rows(record))
            self._beliefs_told.add(record.key)

    def _opening(self, opening: StageOpening) -> None:
        """Log a stage's ranges, as metrics and with all stages so far in ``ranges.json``."""
        self._openings[opening.index] = opening
        note = ranges_note(self._identity.definition, self._openings)
        self._runs.log(self._runs.parent, metrics=range_rows(opening), tags=self._note_tags(note))
        self._runs.write_text(self._runs.parent, ranges_json(self._openings), name="ranges.json")

    def _outcome(self, record: StudyRecord, result: StudyResult) -> None:
        """Log how the study ended, and end its run."""
        best = [each.record.key for each in record.trials if each.record.number == result.best_trial_number]
        self._tell_finished_stages(search_is_over=True)
        self._runs.write_text(self._runs.parent, result_json(result), name="result.json")
        if record.definition.objective.further:
            self._front(record)
        self._runs.log(
            self._runs.parent,
            metrics=result_rows(record, result),
            tags={
                BEST_TRIAL_TAG: "".join(best),
                **state_tags("complete", ""),
                **self._note_tags(result_note(record, result)),
            },
        )
        self._runs.terminate(self._runs.parent, status="FINISHED", end_ms=result.time_ms)

    def _front(self, record: StudyRecord) -> None:
        """Log the Pareto front and mark its trials' runs; what a study that went on has dominated loses the mark."""
        self._runs.write_text(self._runs.parent, pareto_json(record), name="pareto.json")
        front = {trial.record.key for trial in pareto_trials(record.trials, objective=record.definition.objective)}
        for key, run in self._runs.trials.items():
            if (key in front or PARETO_TAG in run.tags) and not run.is_deleted:
                self._runs.log(run, tags={PARETO_TAG: str(key in front).lower()})

    def _pictures(self, views: Path) -> None:
        """Draw and log them; there are none of what has been deleted meanwhile."""
        seen = json.loads(views.read_text()) if views.exists() else None
        for name, content in ({} if seen is None else pictures_of(seen)).items():
            self._runs.write_bytes(self._runs.parent, content, name=f"pictures/{name}")

    def _ending(self, ending: Ending) -> None:
        """End every run that is still going."""
        for run in self._runs.trials.values():
            if run.status == RUNNING and not run.is_deleted:
                self._runs.log(run, tags=state_tags("interrupted", ending.reason))
                self._runs.terminate(run, status="KILLED", end_ms=ending.time_ms)
        self._runs.log(self._runs.parent, tags=state_tags(ending.state, ending.reason))
        self._runs.terminate(self._runs.parent, status=ending.status, end_ms=ending.time_ms)

    def _note_tags(self, note: str) -> dict[str, str]:
        """Return the tag of the study's description; none if a user wrote another one."""
        return {NOTE_TAG: note} if is_ours(self._runs.parent.tags.get(NOTE_TAG, "")) else {}

    def _tell_finished_stages(self, *, search_is_over: bool) -> None:
        """Log the best of each stage whose trials have all ended; a budget may have left it with fewer than planned."""
        objective = self._identity.definition.objective
        for number, stage in enumerate(self._identity.definition.stages, start=1):
            finished = self._finished[stage.name]
            is_over = search_is_over or (stage.n_trials is not None and len(finished) >= stage.n_trials)
            if stage.name in self._stages_told or not is_over:
                continue
            rows = stage_best_rows(number, finished.values(), objective=objective)
            so_far = [self._finished[each.name] for each in self._identity.definition.stages[:number]]
            trials = chain.from_iterable(each.values() for each in so_far)
            rows += portfolio_rows(number, trials, objective=objective)
            self._runs.log(self._runs.parent, metrics=rows)
            self._stages_told.add(stage.name)


def _is_settled(run: TrackedRun, trial: ScoredTrial) -> bool:
    """Whether the run holds everything of the record: it ended in that state, which is always told last."""
    record = trial.record
    return (
        run.status == status(record.state) != RUNNING
        and run.tags.get(STATE_TAG) == record.state.value
        and run.n_epochs in (None, len(record.epochs))
    )


def _name(item: Item) -> str:
    match item:
        case GoesOn():
            return "state of the search"
        case ScoredTrial():
            return item.record.key
        case StageOpening():
            return f"ranges of stage {item.name}"
        case Outcome():
            return "result of the study"
        case Release():
            return "packaged model"
        case Pictures():
            return "pictures of the model"
        case Ending():
            return "state of the study"
