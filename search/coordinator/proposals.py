"""What the next trial of a stage tries.

The first of these that has a say: a short trial that the stage is to promote, the share of points outside the stage's
ranges, a starting point of a warm start, what the sampler `portfolio` spends it on, and the stage's sampler, which an
earlier study may correct. Each is a function of the trials so far and of seeds of its own.
"""

from __future__ import annotations

from dataclasses import replace

from search.comparable_rewards import Observation
from search.coordinator.guidance import guided, search_seed, starting_point
from search.coordinator.history import History
from search.coordinator.promotions import Promotions
from search.coordinator.spending import Spending, next_spending
from search.coordinator.study_context import StudyContext
from search.portfolio import EXPLORE, PORTFOLIO, SAMPLERS
from search.sampling import MOST_CHECKED, MOST_OBSERVATIONS, model_ranges, outside_point, propose, whose_turn
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.storage import trial_key
from search.study_record import StageOpening
from search.trial import TrialRecord
from search.wall_clock import CLOCK


class Proposals:
    """The proposals of one stage.

    Args:
        context: The running study.
        history: Its trials so far.
        opening: The stage.
        promotions: Which trials it is to continue, or may.
    """

    def __init__(
        self, *, context: StudyContext, history: History, opening: StageOpening, promotions: Promotions
    ) -> None:
        self._context = context
        self._definition = context.definition
        self._history = history
        self._opening = opening
        self._box = opening.narrowed.space
        self._stage = self._definition.stages[opening.index]
        self._past = context.study.past()
        self._seed = search_seed(context.definition, self._past)
        self._stage_seed = derived_seed(self._seed, "stage", opening.index)
        self._promotions = promotions
        self._has_priors = any(dimension.prior is not None for dimension in self._definition.space)

    def next_trial(self, number: int) -> TrialRecord:
        """Return the trial of that number, which nobody has heard of yet."""
        promoted = self._promotions.next_for(self._stage)
        if promoted is not None:
            return self._continuing(promoted.record, number)
        spending = self._spending(number)
        if spending.continued is not None:
            record = self._continuing(spending.continued.record, number)
            return replace(record, action=spending.action, beliefs=spending.beliefs)
        chosen, origin = spending.outside, ""
        if chosen is None:
            chosen, origin = self._sampled(number, spending.action)
        record = self._record(
            number,
            hyperparameters=chosen,
            seed=derived_seed(self._seed, "training", number),
            is_outside=not self._box.contains(chosen),
        )
        if origin:
            return replace(record, origin=origin)
        return replace(record, action=spending.action, beliefs=spending.beliefs)

    def _spending(self, number: int) -> Spending:
        """Return what is settled before a sampler is asked."""
        is_portfolio = self._stage.sampler == PORTFOLIO
        outside = self._outside(number)
        if outside is not None:
            return Spending(action=EXPLORE if is_portfolio else "", outside=outside)
        if not is_portfolio or starting_point(self._past, self._history):
            return Spending()
        return next_spending(
            definition=self._definition,
            opening=self._opening,
            history=self._history,
            paused=self._promotions.paused_for(self._stage),
            number=number,
            seed=self._seed,
        )

    def _outside(self, number: int) -> Hyperparameters | None:
        """Return the trial's point outside the stage's ranges, if it is one of those that lie there."""
        if self._opening.index == 0:
            return None
        return outside_point(
            declared=self._definition.space,
            box=self._box,
            share=self._stage.narrow.outside_share,
            stage_seed=self._stage_seed,
            index_in_stage=number - self._opening.first_trial_number,
        )

    def _sampled(self, number: int, action: str) -> tuple[Hyperparameters, str]:
        """Return what the sampler proposes, or what an earlier study makes of it, and where it comes from then."""
        index_in_stage = number - self._opening.first_trial_number
        sampler = whose_turn(self._stage.sampler, stage_seed=self._stage_seed, index_in_stage=index_in_stage)
        if sampler == PORTFOLIO:
            sampler = SAMPLERS[action] if action else "qmc"
        proposed = propose(
            box=self._box,
            sampler=sampler,
            direction=self._definition.objective.direction,
            observations=self._observations(sampler),
            running=self._running(sampler),
            stage=self._stage.name,
            stage_seed=self._stage_seed,
            trial_seed=derived_seed(self._seed, "sampling", number),
            index_in_stage=index_in_stage,
            target_epochs=self._definition.longest_epochs,
            declared=self._definition.space,
        )
        return guided(
            proposed,
            past=self._past,
            definition=self._definition,
            opening=self._opening,
            history=self._history,
            number=number,
        )

    def _observations(self, sampler: str) -> tuple[Observation, ...]:
        """Return what the sampler learns from: nothing, if it does not learn, and there is no prior to be checked.

        What failed counts as if it had diverged: a model that heard nothing of it would be curious for ever.
        """
        at_most = MOST_OBSERVATIONS.get(sampler, MOST_CHECKED if self._has_priors else None)
        if at_most is None:
            return ()
        known = model_ranges(sampler, box=self._box, declared=self._definition.space)
        return self._history.rewards.informative(known, at_most=at_most, failed=self._history.failures.telling)

    def _running(self, sampler: str) -> list[Hyperparameters]:
        """Return the trials in flight, which a model keeps away from; where there are many, the last to begin.

        Those that continue others are known to it: as observations of fewer epochs.
        """
        at_most = MOST_OBSERVATIONS.get(sampler)
        if at_most is None:
            return []
        return [each.hyperparameters for each in self._history.running if not each.continues][-at_most:]

    def _continuing(self, continued: TrialRecord, number: int) -> TrialRecord:
        """Return a trial that goes on where another one ended, from its beginning if no checkpoint is left of that."""
        record = self._record(
            number,
            hyperparameters=continued.hyperparameters,
            seed=continued.seed,
            is_outside=continued.is_outside,
        )
        epochs = continued.epochs
        if not self._context.paths.trial(continued.key).has_checkpoint():
            epochs = ()
            self._context.observer.notice(
                f"{record.key} begins anew with what {continued.key} had: no checkpoint of it is left to continue from."
            )
        return replace(record, continues=continued.key, epochs=epochs, n_taken_over=len(epochs))

    def _record(self, number: int, *, hyperparameters: Hyperparameters, seed: int, is_outside: bool) -> TrialRecord:
        return TrialRecord(
            key=trial_key(number),
            number=number,
            stage=self._stage.name,
            hyperparameters=hyperparameters,
            seed=seed,
            n_epochs=self._stage.max_epochs,
            horizon_epochs=self._definition.horizon_epochs(self._stage),
            is_outside=is_outside,
            started_ms=CLOCK.now_ms(),
        )
