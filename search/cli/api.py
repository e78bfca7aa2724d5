"""What the command line asks of the rest of zeroin; `search.studies_api` has it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from search.observer import StudyObserver
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord
from search.study_views import FoundStudy, StudyCheck, StudyPreview, StudySummary


class StudiesApi(Protocol):
    """Running and reading studies; every method raises a `SearchError` for what the user can mend."""

    def run_study(
        self,
        definition: StudyDefinition,
        *,
        directory: StateDirectory,
        observer: StudyObserver,
        devices: str,
        engine: str = ...,
        ray_address: str | None = ...,
        new: bool = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
        checkpoints: str | None = ...,
        check: bool = ...,
    ) -> StudyRecord:
        """Run a study to its end, resuming it if it is unfinished, reading it if it is finished."""

    def resume_study(
        self,
        name: str,
        *,
        directory: StateDirectory,
        observer: StudyObserver,
        devices: str,
        engine: str = ...,
        ray_address: str | None = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
        edited: StudyDefinition | None = ...,
    ) -> StudyRecord:
        """Continue a recorded study, with an edited definition if there is one."""

    def finish_study(
        self,
        name: str,
        *,
        directory: StateDirectory,
        observer: StudyObserver,
        devices: str,
        engine: str = ...,
        ray_address: str | None = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
        edited: StudyDefinition | None = ...,
    ) -> StudyRecord:
        """End a recorded study's search where it stands, and finish it."""

    def preview_study(
        self,
        definition: StudyDefinition,
        *,
        directory: StateDirectory,
        devices: str,
        engine: str = ...,
        ray_address: str | None = ...,
        new: bool = ...,
        storage: str | None = ...,
        tracking_uri: str | None = ...,
        checkpoints: str | None = ...,
        check: bool = ...,
        notify: Callable[[str], None] = ...,
    ) -> StudyPreview:
        """Inspect a study and say what running it would do, without creating anything."""

    def check_study(
        self,
        definition: StudyDefinition,
        *,
        devices: str,
        engine: str = ...,
        ray_address: str | None = ...,
        notify: Callable[[str], None] = ...,
    ) -> StudyCheck:
        """Make all checks of a study's model and data, without creating anything."""

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
