"""One study in an Optuna storage, and its trials."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from lightning_modules.callbacks.metric_names import gap_name
from search.errors import StateError
from search.messages import TestResult
from search.optuna_storage import OpenedStorage
from search.past import Past
from search.patience import Patient
from search.record_codec import (
    early_end_from_plain,
    early_end_to_plain,
    opening_from_plain,
    opening_to_plain,
    past_from_plain,
    result_from_plain,
    result_to_plain,
    test_result_from_plain,
    test_result_to_plain,
)
from search.samplers.appraisal import appraisals_from_plain, appraisals_to_plain
from search.storage.distributions import distribution
from search.storage.stored_definition import definition_from_stored, definition_to_stored
from search.study_definition import StudyDefinition
from search.study_record import EarlyEnd, FinishPlan, Spent, StageOpening, StudyResult
from search.trial import EpochRecord, Score, TrialRecord, TrialState

# Attributes that a study has from its creation on.
DEFINITION = "zeroin.definition"
UID = "zeroin.uid"
HOME = "zeroin.directory"

PAST = "zeroin.past."
"""What begins the names of the attributes that hold what is taken from earlier studies; each fits any database."""

_TEST = "zeroin.test"
_RESULT = "zeroin.result"
_DELIVERED = "zeroin.is_delivered"
_OPENING = "zeroin.opening."
_SPENT = "zeroin.spent"
_EARLY_END = "zeroin.early_end"
_FINISH_PLAN = "zeroin.finish_plan"
_IS_REFITTED = "zeroin.refit_has_begun"
_MODEL_URI = "zeroin.model_uri"
_EDITS = "zeroin.edits"
_BOOKKEEPING = "zeroin.bookkeeping_seconds"
_DEVICE_USE = "zeroin.device_use"
_OUTCOME = "zeroin.outcome"
_TEST_READINGS = "zeroin.n_test_readings"

_ORIGIN = "zeroin.origin"
_ACTION = "zeroin.action"
_BELIEFS = "zeroin.beliefs"

# Attributes of a trial that continues another one.
_CONTINUES = "zeroin.continues"
_N_TAKEN_OVER = "zeroin.n_taken_over"


_OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED_EARLY: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.DIVERGED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.STOPPED: OptunaState.PRUNED,
}


class StoredStudy:
    """One study in the storage; the coordinator is its only writer."""

    def __init__(self, opened: OpenedStorage, study_id: int) -> None:
        self._opened = opened
        self._storage = cast(BaseStorage, Patient(opened.storage, patience=opened.patience))
        self._sync = opened.sync
        self._study_id = study_id
        attributes = self._storage.get_study_user_attrs(study_id)
        self.definition: StudyDefinition = definition_from_stored(attributes[DEFINITION])
        self.uid: str = attributes[UID]
        self.directory = Path(attributes[HOME])

    @property
    def name(self) -> str:
        """The study's name."""
        return self.definition.study

    def past(self) -> Past:
        """What was taken from before the study when it was created."""
        return past_from_plain(
            {key.removeprefix(PAST): part for key, part in self._attributes().items() if key.startswith(PAST) and part}
        )

    def record_directory(self, directory: Path) -> None:
        """Store that the study's checkpoints and logs have moved."""
        self._storage.set_study_user_attr(self._study_id, HOME, os.fspath(directory))
        self.directory = directory

    def test_result(self) -> TestResult | None:
        """What the test split said, or None if it has not been read."""
        plain = self._attributes().get(_TEST)
        return None if plain is None else test_result_from_plain(plain)

    def record_test_result(self, result: TestResult) -> None:
        """Store what the test split said, so that it is never read for it again."""
        self._storage.set_study_user_attr(self._study_id, _TEST, test_result_to_plain(result))
        self._sync()

    def openings(self) -> tuple[StageOpening, ...]:
        """Stages opened so far, in order."""
        attributes = self._attributes()
        keys = sorted(
            (key for key in attributes if key.startswith(_OPENING)), key=lambda key: int(key.rpartition(".")[2])
        )
        return tuple(opening_from_plain(attributes[key]) for key in keys)

    def record_opening(self, opening: StageOpening) -> None:
        """Store a stage's box and its reasons, once."""
        self._storage.set_study_user_attr(self._study_id, f"{_OPENING}{opening.index}", opening_to_plain(opening))
        self._sync()

    def result(self) -> StudyResult | None:
        """How the study ended, or None."""
        plain = self._attributes().get(_RESULT)
        return None if plain is None else result_from_plain(plain)

    def record_result(self, result: StudyResult) -> None:
        """Store how the study ended."""
        self._storage.set_study_user_attr(self._study_id, _RESULT, result_to_plain(result))
        self._sync()

    def forget_result(self) -> None:
        """Take a finished study up again."""
        self._storage.set_study_user_attr(self._study_id, _DELIVERED, False)
        self._storage.set_study_user_attr(self._study_id, _RESULT, None)

    @property
    def is_delivered(self) -> bool:
        """Whether MLflow has been told the result, so that nothing is left to do."""
        return bool(self._attributes().get(_DELIVERED, False))

    def record_delivery(self) -> None:
        """Store that MLflow has been told the result."""
        self._storage.set_study_user_attr(self._study_id, _DELIVERED, True)

    @property
    def model_uri(self) -> str:
        """MLflow's URI of the registered model, empty if none has been registered."""
        return str(self._attributes().get(_MODEL_URI, ""))

    def record_model_uri(self, uri: str) -> None:
        """Store under which URI the model is registered."""
        self._storage.set_study_user_attr(self._study_id, _MODEL_URI, uri)

    @property
    def spent(self) -> Spent:
        """What the study has cost so far."""
        return Spent(**self._attributes().get(_SPENT, {}))

    @property
    def device_use(self) -> dict[str, float]:
        """Worker seconds by `search.device_use.DeviceUse` so far."""
        return dict(self._attributes().get(_DEVICE_USE, {}))

    def record_spent(self, spent: Spent, *, device_use: Mapping[str, float]) -> None:
        """Store what the study has cost so far, in all its sessions, and what its workers' time went into."""
        self._storage.set_study_user_attr(self._study_id, _SPENT, dataclasses.asdict(spent))
        self._storage.set_study_user_attr(self._study_id, _DEVICE_USE, dict(device_use))

    def finish_plan(self) -> FinishPlan | None:
        """How the finish is carried out, or None if it has not begun."""
        plain = self._attributes().get(_FINISH_PLAN)
        return None if plain is None else FinishPlan(**plain)

    def record_finish_plan(self, plan: FinishPlan) -> None:
        """Store how the finish is carried out, once; from then on the search is over."""
        self._storage.set_study_user_attr(self._study_id, _FINISH_PLAN, dataclasses.asdict(plan))
        self._sync()

    def early_end(self) -> EarlyEnd | None:
        """Why the search ended before all its trials, or None if it did not."""
        plain = self._attributes().get(_EARLY_END)
        return None if plain is None else early_end_from_plain(plain)

    def record_early_end(self, end: EarlyEnd) -> None:
        """Store that no further trial of the search begins, and why."""
        self._storage.set_study_user_attr(self._study_id, _EARLY_END, early_end_to_plain(end))
        self._sync()

    def forget_early_end(self) -> None:
        """Go on with a search that ended early; its finish, which has not refitted anything, begins anew later."""
        if self.finish_plan() is not None:
            self._storage.set_study_user_attr(self._study_id, _FINISH_PLAN, None)
        self._storage.set_study_user_attr(self._study_id, _EARLY_END, None)

    @property
    def refit_has_begun(self) -> bool:
        """Whether the winner has been settled, and its refit may have begun."""
        return bool(self._attributes().get(_IS_REFITTED, False))

    def record_refit(self) -> None:
        """Store that the winner is settled; from then on the search is over for good."""
        if not self.refit_has_begun:
            self._storage.set_study_user_attr(self._study_id, _IS_REFITTED, True)
            self._sync()

    @property
    def edits(self) -> tuple[str, ...]:
        """What was changed in the definition since the study began, one line each, in order."""
        return tuple(self._attributes().get(_EDITS, ()))

    def record_definition(self, definition: StudyDefinition, *, edits: Sequence[str]) -> None:
        """Replace the definition.

        The one write of the definition is the moment at which it changes: after a crash before it, the same edits are
        taken again, and noted once.

        Args:
            definition: The new one, with the same name.
            edits: What differs, one line each.
        """
        noted = self.edits
        if noted[len(noted) - len(edits) :] != tuple(edits):
            self._storage.set_study_user_attr(self._study_id, _EDITS, [*noted, *edits])
        self._storage.set_study_user_attr(self._study_id, DEFINITION, definition_to_stored(definition))
        self._sync()
        self.definition = definition

    @property
    def bookkeeping_seconds(self) -> dict[str, float]:
        """The part of its wall time that was not training, by category."""
        return dict(self._attributes().get(_BOOKKEEPING, {}))

    def add_bookkeeping(self, bookkeeping: Mapping[str, float]) -> None:
        """Add one session's bookkeeping to what is stored."""
        known = self.bookkeeping_seconds
        total = {name: known.get(name, 0.0) + bookkeeping.get(name, 0.0) for name in {**known, **bookkeeping}}
        self._storage.set_study_user_attr(self._study_id, _BOOKKEEPING, total)

    @property
    def n_test_readings(self) -> int:
        """How often the test split has been read."""
        return int(self._attributes().get(_TEST_READINGS, 0))

    def count_test_reading(self) -> None:
        """Record that the test split is about to be read."""
        self._storage.set_study_user_attr(self._study_id, _TEST_READINGS, self.n_test_readings + 1)

    def add_trial(self, record: TrialRecord) -> int:
        """Create a running trial in one write and return its number, which is the count of trials before it."""
        assert record.number is not None
        space = self.definition.space
        attributes = {
            "zeroin.stage": record.stage,
            "zeroin.seed": record.seed,
            "zeroin.n_epochs": record.n_epochs,
            "zeroin.horizon_epochs": record.horizon_epochs,
            "zeroin.is_outside": record.is_outside,
        }
        if record.origin:
            attributes[_ORIGIN] = record.origin
        if record.action:
            attributes[_ACTION] = record.action
        if record.beliefs:
            attributes[_BELIEFS] = appraisals_to_plain(record.beliefs)
        if record.continues:
            attributes |= {_CONTINUES: record.continues, _N_TAKEN_OVER: record.n_taken_over}
        taken_over = zip(count(1), record.curve(self.definition.objective.monitor)[: record.n_taken_over], strict=False)
        template = create_trial(
            state=OptunaState.RUNNING,
            params=dict(record.hyperparameters),
            distributions={name: distribution(space[name]) for name in record.hyperparameters},
            user_attrs=attributes,
            intermediate_values={epoch: value for epoch, value in taken_over if not math.isnan(value)},
        )
        template.datetime_start = (
            datetime.fromtimestamp(record.started_ms / 1000.0, tz=UTC).astimezone().replace(tzinfo=None)
        )
        trial_id = self._create_once(template, number=record.number)
        self._sync()  # what follows can be rebuilt from the epoch log, the trial's place in the study cannot
        return self._storage.get_trial_number_from_id(trial_id)

    def _create_once(self, template: FrozenTrial, *, number: int) -> int:
        """Create a trial and return its id; an attempt whose answer was lost is looked for before the next one.

        Args:
            template: The trial.
            number: The number that it gets, since this process is the study's only writer.
        """
        storage, study_id = self._opened.storage, self._study_id
        is_in_doubt = False

        def create() -> int:
            nonlocal is_in_doubt
            if is_in_doubt:
                with suppress(KeyError):  # there is none: the attempt failed
                    return storage.get_trial_id_from_study_id_trial_number(study_id, number)
            is_in_doubt = True
            return storage.create_new_trial(study_id, template)

        return self._opened.patience.call(create)

    def report(self, number: int, *, epoch: int, value: float) -> None:
        """Store the monitored metric of one epoch."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

    def finish(self, record: TrialRecord, score: Score | None) -> None:
        """Store how a trial ended; a trial that has ended already is left as it is."""
        assert record.number is not None
        trial_id = self._trial_id(record.number)
        if self._storage.get_trial(trial_id).state.is_finished():
            return
        outcome: dict[str, Any] = {"state": record.state.value, "reason": record.reason}
        if score is not None and score.best_epoch:
            outcome |= {"best_epoch": score.best_epoch, "gap_at_best": score.gap_at_best}
            if score.measured:
                outcome |= {"measured": dict(score.measured)}
        self._storage.set_trial_user_attr(trial_id, _OUTCOME, outcome)
        has_value = score is not None and record.state is not TrialState.DIVERGED
        values = self._values(score) if score is not None and has_value else None
        for key, excess in self._constraint_attributes(score).items():
            self._storage.set_trial_system_attr(trial_id, key, excess)
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # a repeated call, whose first answer was lost
            self._storage.set_trial_state_values(trial_id, _OPTUNA_STATES[record.state], values)

    def _values(self, score: Score) -> list[float]:
        """Return what the trial comes to in each direction of the Optuna study."""
        further = zip(self.definition.objective.further, score.losses, strict=True)
        return [score.reward, *(-each.direction.sign * loss for each, loss in further)]

    def _constraint_attributes(self, score: Score | None) -> Mapping[str, Any]:
        """Return what Optuna itself would store of the constraints, by its names for them."""
        if score is None or not score.best_epoch:
            return {}
        constraints = self.definition.objective.constraints
        named = {each.text: excess for each, excess in zip(constraints, score.excesses, strict=True)}
        attributes: Mapping[str, Any] = create_trial(value=0.0, constraints=named).system_attrs
        return attributes

    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial as the storage knows it, by number; epochs hold the monitored metric only."""
        return tuple(self._record(trial) for trial in self._storage.get_all_trials(self._study_id, deepcopy=False))

    @property
    def n_trials(self) -> int:
        """Trials that have begun."""
        return self._storage.get_n_trials(self._study_id)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _attributes(self) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(self._study_id)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes = trial.user_attrs
        if "zeroin.stage" not in attributes:
            raise StateError(
                f"trial {trial.number} of the Optuna study {self.name!r} was not made by zeroin (enqueued in a "
                "dashboard?). A study that others add trials to cannot be continued; start another with --new."
            )
        outcome = attributes.get(_OUTCOME, {})
        started = trial.datetime_start or datetime.now()
        return TrialRecord(
            key=trial_key(trial.number),
            number=trial.number,
            stage=attributes["zeroin.stage"],
            hyperparameters=dict(trial.params),
            seed=attributes["zeroin.seed"],
            n_epochs=attributes["zeroin.n_epochs"],
            horizon_epochs=attributes["zeroin.horizon_epochs"],
            is_outside=attributes.get("zeroin.is_outside", False),
            epochs=tuple(
                EpochRecord(epoch=step, metrics=self._metrics(step, value, outcome), time_ms=_ms(started))
                for step, value in sorted(trial.intermediate_values.items())
            ),
            state=TrialState(outcome.get("state", TrialState.FAILED))
            if trial.state.is_finished()
            else TrialState.RUNNING,
            reason=outcome.get("reason", ""),
            started_ms=_ms(started),
            finished_ms=_ms(trial.datetime_complete) if trial.datetime_complete else None,
            continues=attributes.get(_CONTINUES, ""),
            n_taken_over=attributes.get(_N_TAKEN_OVER, 0),
            origin=attributes.get(_ORIGIN, ""),
            action=attributes.get(_ACTION, ""),
            beliefs=appraisals_from_plain(attributes.get(_BELIEFS, {})),
        )

    def _metrics(self, epoch: int, value: float, outcome: Mapping[str, Any]) -> dict[str, float]:
        """Return what the storage knows of an epoch: the monitored metric, and more at the best one.

        The gap there stands for that of all epochs: without it they would look better than the one that counts.
        """
        monitor, gap = self.definition.objective.monitor, outcome.get("gap_at_best", math.nan)
        gaps = {} if math.isnan(gap) else {gap_name(monitor): gap}
        known = outcome.get("measured", {}) if epoch == outcome.get("best_epoch") else {}
        return {**gaps, **known, monitor: value}


def trial_key(number: int) -> str:
    """Key of the search trial with that Optuna number: ``trial-0012``."""
    return f"trial-{number:04d}"


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000.0)
