"""What the command line asks of the rest of zeroin; `search.studies_api` has it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from search.messages import InspectionResult
from search.observer import StudyObserver
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord, StudyState


class StudySummary(Protocol):
    """One line of `zeroin list`."""

    @property
    def name(self) -> str:
        """Name of the study."""

    @property
    def state(self) -> StudyState:
        """Where it is."""

    @property
    def n_finished(self) -> int:
        """Finished search trials."""

    @property
    def n_trials(self) -> int:
        """Search trials in all its stages."""

    @property
    def best_reward(self) -> float | None:
        """Best finite reward so far, None without any."""

    @property
    def updated_ms(self) -> int | None:
        """Unix time in milliseconds of the last trial's beginning or end, None without any."""

    @property
    def error(self) -> str:
        """Why the study cannot be read, empty normally."""


class FoundStudy(Protocol):
    """A recorded study without its trials."""

    @property
    def definition(self) -> StudyDefinition:
        """As it was when the study began."""

    @property
    def is_running(self) -> bool:
        """Whether a coordinator works on it."""

    @property
    def storage(self) -> str:
        """Where its trials are recorded, passwords masked."""

    @property
    def tracking_uri(self) -> str:
        """Where its runs are logged, passwords masked."""

    @property
    def directory(self) -> str:
        """Where its checkpoints are."""


class StudyPreview(Protocol):
    """What `zeroin run --dry-run` found out without creating anything."""

    @property
    def inspection(self) -> InspectionResult:
        """Outcome of building everything once and running one batch."""

    @property
    def n_workers(self) -> int:
        """Trials that would run at a time."""

    @property
    def storage(self) -> str:
        """Where trials would be recorded, passwords masked."""

    @property
    def tracking_uri(self) -> str:
        """Where runs would be logged, passwords masked."""

    @property
    def directory(self) -> str:
        """Where checkpoints would go."""

    @property
    def name(self) -> str:
        """Name that the study would have."""

    @property
    def state(self) -> StudyState | None:
        """Where the study of that name is, None if one would begin."""

    @property
    def conflicts(self) -> tuple[str, ...]:
        """What its definition has different, one line each; it would then be refused."""


class StudiesApi(Protocol):
    """Running and reading studies; every method raises a `SearchError` for what the user can mend."""

    def run_study(
        self,
        definition: StudyDefinition,
        *,
        directory: StateDirectory,
        observer: StudyObserver,
        devices: str,
        new: bool = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
    ) -> StudyRecord:
        """Run a study to its end, resuming it if it is unfinished, reading it if it is finished."""

    def resume_study(
        self,
        name: str,
        *,
        directory: StateDirectory,
        observer: StudyObserver,
        devices: str,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
    ) -> StudyRecord:
        """Continue a recorded study with the definition it began with."""

    def preview_study(
        self,
        definition: StudyDefinition,
        *,
        directory: StateDirectory,
        devices: str,
        new: bool = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
    ) -> StudyPreview:
        """Inspect a study and say what running it would do, without creating anything."""

    def find_study(
        self, name: str, *, directory: StateDirectory, storage: str | None = ..., tracking_uri: str | None = ...
    ) -> FoundStudy:
        """Read what a study is and where, but not its trials; raises `StudyNotFoundError`."""

    def read_study(
        self, name: str, *, directory: StateDirectory, storage: str | None = ..., tracking_uri: str | None = ...
    ) -> StudyRecord:
        """Read what is recorded; raises `StudyNotFoundError`."""

    def list_studies(self, *, directory: StateDirectory, storage: str | None = ...) -> Sequence[StudySummary]:
        """Read the summaries of all studies in a storage."""

    def delete_study(
        self, name: str, *, directory: StateDirectory, storage: str | None = ..., tracking_uri: str | None = ...
    ) -> Sequence[str]:
        """Remove a study everywhere; returns one line for each thing that was removed."""
