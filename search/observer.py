"""What a running study tells whoever watches it (the CLI's progress display, a notebook, a test)."""

from __future__ import annotations

from typing import Protocol

from search.study_record import StageOpening, StudyForecast, StudyRecord, StudyResult
from search.trial import Score, TrialRecord


class StudyObserver(Protocol):
    """Called by the coordinator, in its one thread; must return quickly and never raise."""

    def notice(self, text: str) -> None:
        """Something that the user should know (a retry, a waiting store, an augmented train subset)."""

    def checking(self) -> None:
        """Before the study opens, a worker looks at the model and the data, which takes seconds."""

    def study_opened(self, record: StudyRecord, *, resumed: bool, n_workers: int) -> None:
        """The study is recorded and checked; `record` holds what is already done."""

    def stage_opened(self, opening: StageOpening) -> None:
        """A stage begins, or goes on after a resume."""

    def trial_started(self, record: TrialRecord) -> None:
        """A worker took the trial (search, confirm or refit); `record.epochs` holds what it continues from."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """The trial has one epoch more."""

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
        """The trial ended, or was interrupted."""

    def forecast_made(self, forecast: StudyForecast) -> None:
        """After the first trials of a stage: how long it and the study will take, and what the budget leaves out."""

    def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None:
        """After the stages: ``confirm``, ``refit``, ``test``; at most `n_runs` runs of `n_epochs` epochs each."""

    def study_finished(self, record: StudyRecord, result: StudyResult) -> None:
        """All done and recorded."""


class SilentObserver:
    """Hears everything and says nothing."""

    def notice(self, text: str) -> None: ...

    def checking(self) -> None: ...

    def study_opened(self, record: StudyRecord, *, resumed: bool, n_workers: int) -> None: ...

    def stage_opened(self, opening: StageOpening) -> None: ...

    def trial_started(self, record: TrialRecord) -> None: ...

    def epoch_finished(self, record: TrialRecord) -> None: ...

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None: ...

    def forecast_made(self, forecast: StudyForecast) -> None: ...

    def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None: ...

    def study_finished(self, record: StudyRecord, result: StudyResult) -> None: ...
