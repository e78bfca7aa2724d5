"""What is known of one trial: its identity, its epochs, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from search.constraint import violation
from search.samplers.appraisal import Appraisal
from search.search_space import Hyperparameters, Value

CONFIRM = "confirm"
"""Stage name of the runs that train the contenders again with other seeds."""

REFIT = "refit"
"""Stage name of the runs that train the winner on train + val; nothing is monitored in them."""


class TrialState(StrEnum):
    """Where a trial is in its life; the value is the word that every store and table shows."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    STOPPED_EARLY = "stopped_early"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED = "stopped"  # by the study's budget, not for anything that the trial did

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come from the trial."""
        return self not in (TrialState.RUNNING, TrialState.INTERRUPTED)

    @property
    def is_fully_trained(self) -> bool:
        """Whether it trained as long as was worth it, so that it can win and be a peer to others."""
        return self in (TrialState.COMPLETE, TrialState.STOPPED_EARLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """The metrics of one finished epoch.

    Attributes:
        epoch: How many epochs the trial has finished, >= 1; the step in MLflow and Optuna.
        metrics: Every scalar that the module logged, and ours (``train_eval_…``, ``gap_…``, ``learning_rate``,
            ``epoch_seconds``); NaN and infinities are kept.
        time_ms: When the coordinator received it, Unix time in milliseconds.
    """

    epoch: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A snapshot of one trial; a new one is made whenever something happened.

    Attributes:
        key: Name of the trial inside its study and of its directory (``trial-0012``, ``confirm-0012-seed1``,
            ``confirm-0012-seed1-again1``, ``refit-seed0``).
        number: The Optuna trial's number, counted from 0, or None outside the search (confirmation, refit).
        stage: Name of the stage, or ``confirm`` / ``refit``.
        hyperparameters: The searched ones, active dimensions only.
        seed: Seed of the training, >= 0.
        n_epochs: Epochs that the stage gives it at most.
        horizon_epochs: Epochs that its learning-rate schedule spans, >= `n_epochs`.
        is_outside: Whether it was sampled outside its stage's ranges on purpose.
        epochs: The finished epochs in order, without gaps, starting at 1.
        state: Where it is in its life.
        reason: Why it ended as it did, in words; empty while it runs.
        started_ms: Unix time in milliseconds.
        finished_ms: Likewise, None while it runs.
        n_retries: How often it was started again, after its worker was lost or out of memory.
        traceback: Where the user's code raised, if that is how it failed; else empty.
        continues: Key of the trial that it continues, whose hyperparameters and seed it has; empty if it is none's.
        n_taken_over: The first of its epochs that were trained in that trial, >= 0; 0 if no checkpoint was left of it.
        origin: Where its hyperparameters come from, if not from its stage's sampler alone (``configuration 1``,
            ``digits, trial 12``, ``near digits, trial 12``); else empty.
        action: What the sampler `portfolio` spent it on (``exploit``, ``explore`` …); empty if there was no choice.
        beliefs: What was believed of each action that was possible then, by name; empty if the bandit did not choose.
    """

    key: str
    number: int | None
    stage: str
    hyperparameters: Hyperparameters
    seed: int
    n_epochs: int
    horizon_epochs: int
    is_outside: bool = False
    epochs: tuple[EpochRecord, ...] = ()
    state: TrialState = TrialState.RUNNING
    reason: str = ""
    started_ms: int
    finished_ms: int | None = None
    n_retries: int = 0
    traceback: str = ""
    continues: str = ""
    n_taken_over: int = 0
    origin: str = ""
    action: str = ""
    beliefs: Mapping[str, Appraisal] = field(default_factory=dict)

    @property
    def n_trained(self) -> int:
        """Epochs that were trained for it, and not for the trial that it continues, >= 0."""
        return max(0, len(self.epochs) - self.n_taken_over)

    def supersedes(self, other: TrialRecord) -> bool:
        """Whether it tells all that `other` does, since it continued it and has as many epochs at least.

        One that failed tells nothing, and of one that the budget stopped nobody knows how it would have ended. One that
        began anew may have fewer epochs.
        """
        tells = self.state.is_finished and self.state not in (TrialState.FAILED, TrialState.STOPPED)
        return self.continues == other.key and tells and len(self.epochs) >= len(other.epochs)

    @property
    def configuration(self) -> frozenset[tuple[str, Value]]:
        """The hyperparameters as something that can be told apart: equal for trials that differ in the seed only."""
        return frozenset(self.hyperparameters.items())

    @property
    def latest_ms(self) -> int:
        """When it gave its last sign of life, Unix time in milliseconds."""
        if self.finished_ms is not None:
            return self.finished_ms
        return max(self.started_ms, self.epochs[-1].time_ms) if self.epochs else self.started_ms

    def curve(self, metric: str) -> tuple[float, ...]:
        """Values of one metric by epoch; NaN where an epoch lacks it."""
        return tuple(record.metrics.get(metric, float("nan")) for record in self.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a trial is ranked by.

    Attributes:
        reward: The monitored metric at its best epoch, less the penalty on the generalization gap; the objective's
            direction says whether more is better. The worst infinity for a diverged trial.
        best_value: The monitored metric at that epoch, NaN for a trial without a finite value.
        best_epoch: That epoch, >= 1, or 0 for a trial without a finite value.
        gap_at_best: Generalization gap of the monitored metric at that epoch, positive = overfitting; NaN if unknown.
        measured: What further objectives and constraints are about, by metric: its value at that epoch (of
            ``epoch_seconds`` the median of the epochs), NaN if there is none.
        losses: What each further objective comes to, less is better; infinite if it was not measured.
        excesses: By how much each constraint is missed, <= 0 if it is kept (`search.constraint`).
    """

    reward: float
    best_value: float
    best_epoch: int
    gap_at_best: float
    measured: Mapping[str, float] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    excesses: tuple[float, ...] = ()

    @property
    def violation(self) -> float:
        """How far it is from keeping all constraints, >= 0; 0 exactly if it does."""
        return violation(self.excesses)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    """A search trial that cannot be running: what narrowing and samplers may look at.

    Attributes:
        record: Its last snapshot, with a finished state.
        score: Its score, None for a trial that says nothing about its hyperparameters: a failed one, or one that was
            stopped before it had a finite value.
    """

    record: TrialRecord
    score: Score | None = field(default=None)

    def __post_init__(self) -> None:
        assert self.record.state.is_finished, f"{self.record.key} is {self.record.state}"
        failed = self.record.state is TrialState.FAILED
        assert (self.score is None) == failed or self.record.state is TrialState.STOPPED, self.record.key
