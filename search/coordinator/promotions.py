"""Which trials of a running study are continued by later ones, and whose checkpoints that needs."""

from __future__ import annotations

from search.coordinator.history import History
from search.promotion import PausedTrials, Shortlist, is_paused, may_be_promoted, may_go_on_in, n_to_come
from search.study_definition import SearchStage, StudyDefinition
from search.trial import FinishedTrial, TrialRecord


class Promotions:
    """The promotions of a study, those of earlier sessions included.

    Args:
        definition: The study.
        history: Its trials so far.
    """

    def __init__(self, definition: StudyDefinition, history: History) -> None:
        self._definition = definition
        self._history = history
        self._index = 0
        self._leaving: set[str] = set()
        self._shortlist = Shortlist(definition.objective.direction.sign)
        self._paused = PausedTrials(definition.objective.direction.sign)
        for trial in history.finished:
            self._paused.drop(trial.record.continues)
            self._enter(trial)
        for record in history.running:
            self._paused.drop(record.continues)

    def opened(self, index: int) -> None:
        """Note that a stage is under way; those before it promote none any more."""
        self._index = index
        self._cut()

    def ended(self, trial: FinishedTrial) -> None:
        """Consider a trial that has ended, though its worker may still be writing its last checkpoint."""
        self._leaving.add(trial.record.key)
        self._enter(trial)
        self._cut()

    def departed(self, trial: FinishedTrial) -> None:
        """Note that no worker touches the trial any more."""
        self._leaving.discard(trial.record.key)

    def must_wait(self, stage: SearchStage) -> bool:
        """Whether a worker has not let go yet of the trial that the next one of a stage is to continue."""
        chosen = self.next_for(stage)
        return chosen is not None and chosen.record.key in self._leaving

    def next_for(self, stage: SearchStage) -> FinishedTrial | None:
        """Return the trial that the next one of a stage is to continue; None if that is to be a new one."""
        if self._history.promoted_by_stage.get(stage.name, 0) >= stage.promote:
            return None
        return self._shortlist.best(self._history.rewards.comparable, below_epochs=stage.max_epochs)

    def paused_for(self, stage: SearchStage) -> list[FinishedTrial]:
        """Return the trials that a stage with the sampler `portfolio` may go on with, and that no worker touches."""
        return [
            each
            for each in self._paused
            if may_go_on_in(stage, each, self._definition) and each.record.key not in self._leaving
        ]

    @property
    def paused_keys(self) -> tuple[str, ...]:
        """Keys of the trials that the sampler `portfolio` may go on with, in this stage or a later one."""
        return tuple(each.record.key for each in self._paused)

    def lost(self, key: str) -> None:
        """Note that nothing is left to go on from with a paused trial."""
        self._paused.drop(key)

    def all_begun(self, index: int) -> None:
        """Note that a stage begins no trial any more: what no later one may go on with is paused no longer."""
        later = self._definition.stages[index + 1 :]
        for trial in list(self._paused):
            if not any(may_go_on_in(stage, trial, self._definition) for stage in later):
                self._paused.drop(trial.record.key)

    def begun(self, record: TrialRecord) -> None:
        """Note that a trial has begun: what it continues, no other one will."""
        if record.continues:
            self._shortlist.drop(record.continues)
            self._paused.drop(record.continues)
            self._cut()

    @property
    def needed_keys(self) -> set[str]:
        """Keys of the trials whose checkpoints must stay: what a running trial began with, and what another one may."""
        continued = (each.continues for each in self._history.running if each.continues)
        return self._shortlist.keys.union(continued, self.paused_keys)

    def _enter(self, trial: FinishedTrial) -> None:
        if is_paused(trial, self._definition):
            self._paused.add(trial)
        has_room = n_to_come(
            self._definition.stages,
            self._history.promoted_by_stage,
            index=self._index,
            n_epochs=len(trial.record.epochs),
        )
        if has_room and not self._history.is_continued(trial.record.key) and may_be_promoted(trial, self._definition):
            self._shortlist.add(trial)

    def _cut(self) -> None:
        stages, begun = self._definition.stages, self._history.promoted_by_stage
        self._shortlist.cut(lambda n_epochs: n_to_come(stages, begun, index=self._index, n_epochs=n_epochs))
