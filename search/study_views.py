"""What is told about a study without its trials: in a list, when it is looked for, before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.checks.finding import Finding, Verdict
from search.messages import InspectionResult
from search.search_space import Hyperparameters
from search.study_definition import StudyDefinition
from search.study_record import StudyState


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One study in a list.

    Attributes:
        state: Where it is; of a study that cannot be read, whether a coordinator works on it.
        n_finished: Finished search trials.
        n_trials: Search trials in all its stages, None for as many as its budget allows.
        best_reward: Best finite reward so far, None without any.
        updated_ms: When a trial last began or ended, Unix time in milliseconds, None without any.
        error: Why the study cannot be read, its figures then being zero and None; empty normally.
    """

    name: str
    state: StudyState
    n_finished: int
    n_trials: int | None
    best_reward: float | None
    updated_ms: int | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A recorded study without its trials.

    Attributes:
        definition: As the study goes by now.
        is_running: Whether a coordinator works on it.
        storage: Where its trials are recorded, passwords masked.
        tracking_uri: Where its runs are logged, passwords masked.
        directory: Where its checkpoints are.
    """

    definition: StudyDefinition
    is_running: bool
    storage: str
    tracking_uri: str
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One entry of a recorded study's definition that differs in the one given for it.

    Attributes:
        line: What was changed, ``stages.1.n_trials: 6 -> 12``.
        refusal: Why it cannot be taken; empty if it is.
    """

    line: str
    refusal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPreview:
    """What a dry run found out.

    Attributes:
        inspection: Outcome of building everything once and running one batch.
        n_workers: Trials that would run at a time.
        storage: Where trials would be recorded, passwords masked.
        tracking_uri: Where runs would be logged, passwords masked.
        directory: Where checkpoints would go.
        name: Name that the study would have.
        state: Where the study of that name is that would be continued or told, None if one would begin.
        edits: What its definition has different; if any of it is refused, so would be the run.
        finish_has_begun: Whether its search is over, for ever.
        is_packed: Whether more trials run at a time if a device's memory takes several (``trials_per_device: auto``).
    """

    inspection: InspectionResult
    n_workers: int
    storage: str
    tracking_uri: str
    directory: str
    name: str
    state: StudyState | None
    edits: tuple[Edit, ...]
    finish_has_begun: bool
    is_packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCheck:
    """What the checks of a study's model and data found.

    Attributes:
        name: The study.
        findings: In the order of the checks.
        hyperparameters: The point of the search space at which they were made.
        device: What they were made on, in words.
    """

    name: str
    findings: tuple[Finding, ...]
    hyperparameters: Hyperparameters
    device: str

    @property
    def has_failed(self) -> bool:
        """Whether a check has."""
        return any(each.verdict is Verdict.FAILED for each in self.findings)
