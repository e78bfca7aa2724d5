"""What is recorded of a study as a whole: stage openings, the finish, and all trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean

from lightning_modules.ensembles.ensemble_gain import EnsembleGain
from search.search_space import SearchSpace
from search.study_definition import EPOCH_SECONDS, FinishSettings, StudyDefinition
from search.trial import Score, TrialRecord


class RangeChange(StrEnum):
    """What narrowing did to one dimension."""

    DECLARED = "declared"
    KEPT = "kept"
    NARROWED = "narrowed"
    EXTENDED = "extended"
    SHIFTED = "shifted"
    CHOICES_DROPPED = "choices dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeDecision:
    """One dimension's fate at a stage border.

    Attributes:
        name: The dimension.
        change: What happened.
        before: Range before, in words (``[1e-05, 1]``, ``sgd | adamw``).
        after: Range after, likewise.
        reason: Why, in a sentence with its figures.
        figures: The figures behind it (``p_value``, ``n_best``, …).
        cut_off: Whether the best trials still sit at an edge that the hard limits do not let move.
    """

    name: str
    change: RangeChange
    before: str
    after: str
    reason: str
    figures: Mapping[str, float]
    cut_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowedSpace:
    """Result of narrowing: new ranges, with one decision per dimension in the space's order."""

    space: SearchSpace
    decisions: tuple[RangeDecision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOpening:
    """Recorded once, when a stage opens; a resumed study reads it and never computes it anew.

    Attributes:
        index: Position of the stage, from 0.
        name: Its name.
        narrowed: Its box and why it is what it is.
        first_trial_number: Number of its first trial; its trials are those before the next stage's first one.
        time_ms: Unix time in milliseconds.
    """

    index: int
    name: str
    narrowed: NarrowedSpace
    first_trial_number: int
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a study has cost in all its sessions so far.

    Attributes:
        wall_seconds: Time that coordinators worked on it.
        worker_seconds: Time that training runs occupied workers, summed over the workers.
        device_seconds: The same times the devices of each worker.
        epoch_seconds: The part of `worker_seconds` in which epochs were trained, as the workers measured it.
        n_epochs: Epochs trained.
        n_runs: Training runs that workers have begun, those that go on from a checkpoint included.
        n_workers: Workers of the latest session, 0 before the first one.
    """

    wall_seconds: float = 0.0
    worker_seconds: float = 0.0
    device_seconds: float = 0.0
    epoch_seconds: float = 0.0
    n_epochs: int = 0
    n_runs: int = 0
    n_workers: int = 0

    def with_logged(self, records: Iterable[TrialRecord], *, devices_per_worker: float | None = None) -> Spent:
        """Return at least what the epoch logs tell, of which a kill may have lost the account.

        Args:
            records: Of all trials and runs of the finish.
            devices_per_worker: Devices that each of their epochs occupied, > 0; a fraction if trials share one. None
                for as many as in the account so far.
        """
        trained = [each for record in records for each in record.epochs[len(record.epochs) - record.n_trained :]]
        measured = (each.metrics.get(EPOCH_SECONDS, 0.0) for each in trained)
        seconds = sum(each for each in measured if 0.0 < each < math.inf)
        if devices_per_worker is None:
            devices_per_worker = self.device_seconds / self.worker_seconds if self.worker_seconds else 0.0
        return replace(
            self,
            worker_seconds=max(self.worker_seconds, seconds),
            device_seconds=max(self.device_seconds, seconds * devices_per_worker),
            epoch_seconds=max(self.epoch_seconds, seconds),
            n_epochs=max(self.n_epochs, len(trained)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyForecast:
    """How long the rest of a study is expected to take.

    Attributes:
        stage: The stage under way.
        stage_seconds: Wall time to its end, and to that of trials of earlier stages that still train.
        study_seconds: Wall time to the study's end, with the most that the finish takes.
        device_seconds: Time of devices to the study's end, summed over the devices.
        n_workers: Trials that run at a time.
        left_out: Trials of each stage that the budget is expected to leave out, by name; empty if it suffices.
        finish_is_cut: Whether the budget is expected to leave less of the finish than the study wants.
    """

    stage: str
    stage_seconds: float
    study_seconds: float
    device_seconds: float
    n_workers: int
    left_out: Mapping[str, int]
    finish_is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What further trials may still gain, in the reward's unit.

    Attributes:
        expected_gain: Expected improvement of the best next trial over the best so far, >= 0.
        possible_gain: What the best of all configurations gains at most with the probability that was asked for, >= 0.
        noise: Standard deviation of the reward between seeds, > 0.
    """

    expected_gain: float
    possible_gain: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEnd:
    """That the search has ended before all its trials; recorded once, and never judged again.

    Attributes:
        reason: Why, in words and figures.
        outlook: The last of the outlooks that decided, None if the user did.
        n_finished: Trials that had ended, of all stages.
        n_left: Planned trials that are left out, None if nothing counted them.
        time_ms: Unix time in milliseconds.
    """

    reason: str
    outlook: Outlook | None
    n_finished: int
    n_left: int | None
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishPlan:
    """The finish as it is carried out, settled once when it begins.

    Attributes:
        top_k: Configurations that are confirmed; 0 to take the best trial as it is.
        n_seeds: Seeds that each is confirmed with at most.
        n_refits: Refits, >= 1: of the winner, or of each confirmed configuration.
    """

    top_k: int
    n_seeds: int
    n_refits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One configuration's runs over seeds.

    Attributes:
        trial_number: The search trial whose hyperparameters it has.
        rewards: Reward by seed, in the order they were run.
        best_epochs: Best epoch of each run.
        mean: Mean reward.
        eliminated_after: Runs after which it was dropped, or None if it stayed to the end.
        measured: Means over the runs of what further objectives and constraints are about, NaN where a run lacks it.
        violation: How far these means are from keeping all constraints, >= 0.
        interval: Low and high end of what the mean over all seeds may be (see `search.confidence`); None where too
            few seeds tell anything, or a run has no finite reward.
    """

    trial_number: int
    rewards: tuple[float, ...]
    best_epochs: tuple[int, ...]
    mean: float
    eliminated_after: int | None
    measured: Mapping[str, float] = field(default_factory=dict)
    violation: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdedEdge:
    """An edge of a dimension's last range at which the best trials crowd, so that the optimum may lie beyond.

    Attributes:
        name: The dimension.
        is_lower: Whether it is the lower edge, else the upper one.
        bound: The edge, in the hyperparameter's own unit.
        is_hard_limit: Whether it is the hard limit, so that no further stage could move it.
        reason: What was found, and what to do about it, in a sentence with its figures.
        figures: The figures behind it (``n_at_edge``, ``edge_p_value``, ``worse_inside``).
    """

    name: str
    is_lower: bool
    bound: float
    is_hard_limit: bool
    reason: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """How a study ended.

    Attributes:
        best_trial_number: The search trial whose hyperparameters won.
        confirmations: The contenders, winner first; empty if the study has no `finish`.
        refit_keys: Keys of the refits.
        refit_epochs: Epochs that each was trained for, at most.
        test_members: Metrics of each member on the test split.
        test_ensemble: Metrics of the probabilities that all members average to, on the test split.
        n_test_samples: Test samples read.
        n_test_readings: How often the test split was read in this study's life.
        n_epochs: Epochs trained by phase (each stage's name, ``confirm``, ``refit``).
        notices: What the user should know about it.
        seconds: Wall time that coordinators spent on the study.
        device_seconds: Time that training runs occupied devices, summed over the devices.
        device_use: What the workers' time went into, by `search.device_use.DeviceUse`.
        time_ms: When it finished, Unix time in milliseconds.
        is_packaged: Whether there is a packaged model to be registered.
        ensemble_gain: What averaging gains over the best single member on the test split, by metric (``test_acc``,
            ``test_loss``): of all members, or, where each refit keeps several, of each refit's own ones.
        crowded_edges: Where the best trials of the search crowd at an edge of the last stage's ranges.
    """

    best_trial_number: int
    confirmations: tuple[Confirmation, ...]
    refit_keys: tuple[str, ...]
    refit_epochs: int
    test_members: tuple[Mapping[str, float], ...]
    test_ensemble: Mapping[str, float]
    n_test_samples: int
    n_test_readings: int
    n_epochs: Mapping[str, int]
    notices: tuple[str, ...]
    seconds: float
    time_ms: int
    device_seconds: float = 0.0
    device_use: Mapping[str, float] = field(default_factory=dict)
    is_packaged: bool = False
    ensemble_gain: Mapping[str, EnsembleGain] = field(default_factory=dict)
    crowded_edges: tuple[CrowdedEdge, ...] = ()

    @property
    def test_mean(self) -> Mapping[str, float]:
        """Each metric's mean over the members on the test split that have it."""
        names = dict.fromkeys(name for metrics in self.test_members for name in metrics)
        return {name: fmean(each[name] for each in self.test_members if name in each) for name in names}

    def n_model_members(self, settings: FinishSettings | None) -> int:
        """Return how many members the registered model has: one unless the study's finish averages them."""
        if settings is None or not settings.averages:
            return 1
        return len(self.test_members or self.refit_keys)


class StudyState(StrEnum):
    """Where a study is."""

    RUNNING = "running"  # a coordinator holds its lease
    UNFINISHED = "unfinished"  # nobody works on it; `zeroin resume` does
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrial:
    """A trial with its score, which is None while there is nothing to score and for a failed trial."""

    record: TrialRecord
    score: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """Everything the stores hold about one study, read without changing anything.

    Attributes:
        definition: As the study goes by now.
        state: Where it is.
        openings: Stages opened so far, in order.
        trials: Search trials in the order of their numbers (confirmation and refit are in `result`).
        result: None until the study is finished.
        storage: Optuna storage URI, passwords masked.
        tracking_uri: MLflow tracking URI, passwords masked.
        directory: The study's directory under the state directory, where its checkpoints are.
        spent: What it has cost so far.
        bookkeeping_seconds: The part of its wall time that was not training, by category: ``asking``, ``reports``,
            ``storage`` and ``tracking`` are wall time of the coordinator's thread, ``mlflow`` is processor time of the
            thread that delivers to MLflow beside it.
        device_use: What the workers' time went into up to the result, by `search.device_use.DeviceUse`; what a
            running session has not stored yet is missing.
        finish_has_begun: Whether the search is over: the best configurations are being confirmed or refitted.
        early_end: Why the search ended before all its trials, None if it did not.
        model_uri: MLflow's URI of the registered model (``models:/digits/1``), empty if there is none.
    """

    definition: StudyDefinition
    state: StudyState
    openings: tuple[StageOpening, ...]
    trials: tuple[ScoredTrial, ...]
    result: StudyResult | None
    storage: str
    tracking_uri: str
    directory: str
    spent: Spent = Spent()
    bookkeeping_seconds: Mapping[str, float] = field(default_factory=dict)
    device_use: Mapping[str, float] = field(default_factory=dict)
    finish_has_begun: bool = False
    early_end: EarlyEnd | None = None
    model_uri: str = ""

    @property
    def seconds(self) -> float:
        """Wall time that coordinators have spent on the study."""
        return self.spent.wall_seconds
