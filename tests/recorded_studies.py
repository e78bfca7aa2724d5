"""The command line in this process, over studies that are records in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_modules.checks.finding import Finding
from search.cli.command_context import CommandContext
from search.cli.main import exit_code_of
from search.errors import StudyNotFoundError
from search.messages import InspectionResult
from search.observer import StudyObserver
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_record import ScoredTrial, StudyRecord, StudyState
from search.study_views import Edit, FoundStudy, StudyCheck, StudyPreview, StudySummary
from search.trial import EpochRecord, Score, TrialRecord, TrialState

STORAGE, TRACKING = "journal:///somewhere/optuna.journal", "sqlite:////somewhere/mlflow.db"


def a_record(definition: StudyDefinition, *, state: StudyState = StudyState.UNFINISHED) -> StudyRecord:
    """A study of which three trials are complete, the second the best."""
    space = definition.space
    trials = []
    for number, value in enumerate((0.7, 0.9, 0.8)):
        record = TrialRecord(
            key=f"trial-{number:04d}",
            number=number,
            stage="coarse",
            hyperparameters=space.from_units(dict.fromkeys(space.names, 0.2 * number)),
            seed=number,
            n_epochs=1,
            horizon_epochs=24,
            epochs=(EpochRecord(epoch=1, metrics={"val_acc": value}, time_ms=0),),
            state=TrialState.COMPLETE,
            started_ms=0,
            finished_ms=1500,
        )
        score = Score(reward=value, best_value=value, best_epoch=1, gap_at_best=math.nan)
        trials.append(ScoredTrial(record=record, score=score))
    return StudyRecord(
        definition=definition,
        state=state,
        openings=(),
        trials=tuple(trials),
        result=None,
        storage=STORAGE,
        tracking_uri=TRACKING,
        directory="/somewhere/trials/digits",
    )


@dataclass
class RecordedStudies:
    """The interface to studies over records in memory; notes what it was asked.

    Attributes:
        records: What is recorded, by name.
        calls: What was called, with its options.
        failure: Raised by every call but reading.
        tells: Whether a study that runs is told to the observer.
        state: What a preview says of the study; None if there is none of that name.
        edits: What a preview says that differs from the recorded study.
        findings: What a check finds.
        unreadable: Why a further study in the list cannot be read; none is listed if empty.
    """

    records: dict[str, StudyRecord] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failure: BaseException | None = None
    tells: bool = True
    state: StudyState | None = None
    edits: tuple[Edit, ...] = ()
    findings: tuple[Finding, ...] = ()
    unreadable: str = ""

    def run_study(self, definition: StudyDefinition, *, observer: StudyObserver, **options: Any) -> StudyRecord:
        return self._ran("run", definition, observer, options)

    def resume_study(self, name: str, *, observer: StudyObserver, **options: Any) -> StudyRecord:
        return self._ran("resume", self.records[name].definition, observer, options)

    def finish_study(self, name: str, *, observer: StudyObserver, **options: Any) -> StudyRecord:
        return self._ran("finish", self.records[name].definition, observer, options)

    def preview_study(self, definition: StudyDefinition, **options: Any) -> StudyPreview:
        self._note("preview", definition=definition, **options)
        inspection = InspectionResult(
            error="",
            error_key="",
            metrics=("val_acc",),
            notices=("beware",),
            n_parameters=12345,
            measures_gap=True,
            has_test_data=True,
            traceback="",
        )
        return StudyPreview(
            inspection=inspection,
            n_workers=2,
            storage=STORAGE,
            tracking_uri=TRACKING,
            directory="/somewhere",
            name=f"{definition.study}-2" if options["new"] else definition.study,
            state=self.state,
            edits=self.edits,
            finish_has_begun=False,
        )

    def check_study(self, definition: StudyDefinition, **options: Any) -> StudyCheck:
        self._note("check", definition=definition, **options)
        return StudyCheck(
            name=definition.study,
            findings=self.findings,
            hyperparameters={"model.learning_rate": 0.01, "model.init_scheme": "he"},
            device="CPU",
        )

    def find_study(self, name: str, **options: Any) -> FoundStudy:
        record = self.read_study(name, **options)
        return FoundStudy(
            definition=record.definition,
            is_running=record.state is StudyState.RUNNING,
            storage=record.storage,
            tracking_uri=record.tracking_uri,
            directory=record.directory,
        )

    def read_study(self, name: str, **options: Any) -> StudyRecord:
        self._note("read", name=name, **options)
        if name not in self.records:
            raise StudyNotFoundError(f"no {name!r}")
        return self.records[name]

    def list_studies(self, *, directory: StateDirectory, storage: str | None = None) -> Sequence[StudySummary]:
        broken = StudySummary(
            name="broken",
            state=StudyState.UNFINISHED,
            n_finished=0,
            n_trials=0,
            best_reward=None,
            updated_ms=None,
            error=self.unreadable,
        )
        return [
            *(
                StudySummary(
                    name=name,
                    state=record.state,
                    n_finished=3,
                    n_trials=84,
                    best_reward=0.9,
                    updated_ms=1_700_000_000_000,
                )
                for name, record in self.records.items()
            ),
            *([broken] if self.unreadable else []),
        ]

    def delete_study(self, name: str, **options: Any) -> Sequence[str]:
        self._note("delete", name=name, **options)
        return ["everything"]

    def _ran(
        self, what: str, definition: StudyDefinition, observer: StudyObserver, options: dict[str, Any]
    ) -> StudyRecord:
        if self.tells:
            observer.checking()
        self._note(what, definition=definition, **options)
        record = a_record(definition)
        if self.tells:
            observer.study_opened(record, resumed=False, n_workers=1)
        return replace(record, state=StudyState.FINISHED)

    def _note(self, what: str, **options: Any) -> None:
        self.calls.append((what, options))
        if self.failure is not None and what != "read":
            raise self.failure

    def options_of(self, what: str) -> dict[str, Any]:
        """What the only call of that kind was given."""
        found = [options for name, options in self.calls if name == what]
        assert len(found) == 1, self.calls
        return found[0]


def call(studies: RecordedStudies, *arguments: str) -> int:
    """Run a command; return its exit code."""
    return exit_code_of(list(arguments), context=CommandContext(api=studies))
