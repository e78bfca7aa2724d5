"""Promotion: which short trial a stage continues from its checkpoint, instead of trying other values for as long.

A short trial is the exact beginning of a long one (the learning-rate schedules of all trials span the same epochs), so
continuing it costs only the epochs that are missing. The choice is a function of the trials that have finished.

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016,
successive halving; Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, promotion from
checkpoints.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence

from search.early_stopping import flat_reason
from search.portfolio import PORTFOLIO
from search.study_definition import SearchStage, StudyDefinition
from search.trial import FinishedTrial, TrialState

MOST_PAUSED = 16
"""Paused trials whose checkpoints are kept for the sampler `portfolio`."""


def may_be_promoted(trial: FinishedTrial, definition: StudyDefinition) -> bool:
    """Whether a trial is worth continuing, if a stage has more epochs for it.

    It had all the epochs that it was given, has a finite reward, and its curve has not gone flat; otherwise it would be
    stopped as soon as it went on.

    Args:
        trial: A search trial that no other one continues.
        definition: The study.
    """
    return trial.record.state is TrialState.COMPLETE and _could_go_on(trial, definition)


def is_paused(trial: FinishedTrial, definition: StudyDefinition) -> bool:
    """Whether the sampler `portfolio` may go on with a trial, one of few epochs or one that was pruned.

    Some stage from its own on has this sampler, more epochs, and the trial's schedule. What a trial will reach is
    extrapolated, which a trial's place among all, as constraints and several objectives have it, cannot be.

    Args:
        trial: A search trial.
        definition: The study.
    """
    record, stages = trial.record, definition.stages
    if record.state not in (TrialState.COMPLETE, TrialState.PRUNED) or not definition.objective.ranks_by_reward_alone:
        return False
    own = next(index for index, stage in enumerate(stages) if stage.name == record.stage)
    return _could_go_on(trial, definition) and any(may_go_on_in(stage, trial, definition) for stage in stages[own:])


def may_go_on_in(stage: SearchStage, trial: FinishedTrial, definition: StudyDefinition) -> bool:
    """Whether a stage has the sampler `portfolio`, and more epochs of the same schedule for a trial."""
    return (
        stage.sampler == PORTFOLIO
        and stage.max_epochs > len(trial.record.epochs)
        and definition.horizon_epochs(stage) == trial.record.horizon_epochs
    )


def _could_go_on(trial: FinishedTrial, definition: StudyDefinition) -> bool:
    record, score, rule = trial.record, trial.score, definition.early_stopping
    if score is None or not math.isfinite(score.reward):
        return False
    objective = definition.objective
    return rule is None or not flat_reason(record.curve(objective.monitor), direction=objective.direction, rule=rule)


def n_to_come(stages: Sequence[SearchStage], n_begun: Mapping[str, int], *, index: int, n_epochs: int) -> int:
    """Return how many trials of so many epochs may still be promoted, >= 0.

    Args:
        stages: All stages of the study.
        n_begun: Trials that have been promoted to each stage, by its name; none if it is missing.
        index: The stage under way; those before it promote none any more.
        n_epochs: Epochs of the trials.
    """
    return sum(
        max(0, stage.promote - n_begun.get(stage.name, 0)) for stage in stages[index:] if stage.max_epochs > n_epochs
    )


class Shortlist:
    """The trials that may still be promoted: of those of equal epochs, as many of the best as may be.

    Comparable rewards of trials of different epochs move against each other as others finish, those of equal epochs
    never do: whatever is chosen later is among these.

    What keeps the constraints comes before what does not, of which the least violation comes first.

    Args:
        sign: +1.0 if more reward is better, else -1.0.
    """

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._best: dict[int, list[tuple[float, float, int, FinishedTrial]]] = {}  # by epochs; best first

    def add(self, trial: FinishedTrial) -> None:
        """Enter a trial that may be promoted (`may_be_promoted`)."""
        assert trial.score is not None and trial.record.number is not None
        entry = (trial.score.violation, -self._sign * trial.score.reward, trial.record.number, trial)
        insort(self._best.setdefault(len(trial.record.epochs), []), entry, key=lambda each: each[:3])

    def cut(self, capacity: Callable[[int], int]) -> None:
        """Drop those that are too many.

        Args:
            capacity: How many trials of so many epochs may still be promoted.
        """
        for n_epochs, entries in self._best.items():
            del entries[capacity(n_epochs) :]

    def drop(self, key: str) -> None:
        """Drop the trial of that key, if it is there."""
        for entries in self._best.values():
            entries[:] = [each for each in entries if each[3].record.key != key]

    @property
    def keys(self) -> set[str]:
        """Keys of the trials, whose checkpoints are needed."""
        return {trial.record.key for entries in self._best.values() for *_, trial in entries}

    def best(self, comparable: Callable[[int], float], *, below_epochs: int) -> FinishedTrial | None:
        """Return the trial with the best comparable reward among those of fewer epochs, the first of equals; else None.

        Args:
            comparable: The comparable reward of a trial, by its number; those of equal epochs differ as their rewards.
            below_epochs: The trial has fewer epochs than that.
        """
        heads = [entries[0] for n_epochs, entries in self._best.items() if n_epochs < below_epochs and entries]
        ranked = ((broken, -self._sign * comparable(number), number, trial) for broken, _, number, trial in heads)
        return min(ranked, key=lambda each: each[:3], default=(0.0, 0.0, 0, None))[3]


class PausedTrials:
    """The trials that the sampler `portfolio` may go on with: the best `MOST_PAUSED` by what they have reached.

    Args:
        sign: +1.0 if more reward is better, else -1.0.
    """

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._best: list[tuple[float, int, FinishedTrial]] = []

    def add(self, trial: FinishedTrial) -> None:
        """Enter a trial (`is_paused`); one that is too many is dropped for good."""
        assert trial.score is not None and trial.record.number is not None
        insort(self._best, (-self._sign * trial.score.reward, trial.record.number, trial), key=lambda each: each[:2])
        del self._best[MOST_PAUSED:]

    def drop(self, key: str) -> None:
        """Drop the trial of that key, if it is there."""
        self._best = [each for each in self._best if each[2].record.key != key]

    def __iter__(self) -> Iterator[FinishedTrial]:
        return (trial for *_, trial in self._best)
