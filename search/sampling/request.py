"""What a sampler is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.comparable_rewards import Observation
from search.search_space import Hyperparameters, SearchSpace
from search.study_definition import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRequest:
    """All that a proposal depends on.

    Attributes:
        box: The stage's current ranges; the proposal lies inside.
        direction: Whether more reward is better.
        imported: Finished trials of earlier stages that lie in the box, by trial number.
        own: Finished trials of this stage, by trial number.
        running: Hyperparameters of trials in flight that lie in `known`.
        stage_seed: In ``[0, 2**31)``, the same for all trials of the stage.
        trial_seed: In ``[0, 2**31)``, this trial's own.
        index_in_stage: Position of this trial in its stage, from 0.
        target_epochs: Epochs of the study's longest trials, >= 1.
        known: The ranges whose trials the sampler learns from: the box, or the declared ranges and the box together.
        beyond: Finished trials that lie in those, but outside the box, by trial number.
        is_excerpt: Whether `imported`, `own` and `beyond` are only the most informative trials of so many.
    """

    box: SearchSpace
    direction: Direction
    imported: Sequence[Observation]
    own: Sequence[Observation]
    running: Sequence[Hyperparameters]
    stage_seed: int
    trial_seed: int
    index_in_stage: int
    target_epochs: int
    known: SearchSpace
    beyond: Sequence[Observation] = ()
    is_excerpt: bool = False

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Imported and own ones, by trial number."""
        return tuple(sorted((*self.imported, *self.own), key=lambda each: each.number))

    @property
    def all_observations(self) -> tuple[Observation, ...]:
        """Those beyond the box too, by trial number."""
        return tuple(sorted((*self.observations, *self.beyond), key=lambda each: each.number))
