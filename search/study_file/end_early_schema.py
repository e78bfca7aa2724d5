"""The study file's `end_early`: when the search ends before all its trials."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from search.study_file.schema_parts import Count, Section, Shorthand, named


class EndEarlySection(Section):
    """When the search ends before all its trials, because further ones cannot pay; the finish then follows."""

    gain_below: Literal["noise"] | Annotated[float, Field(gt=0.0)] = "noise"
    """A gain that would not count: noise for less than another seed makes of the reward, or a number in its unit."""
    probability: Annotated[float, Field(ge=0.5, le=0.999)] = 0.9
    """With which, by the model of all trials, nothing in the last stage's ranges may gain as much."""
    patience_trials: Count = 5
    """Finished trials of the last stage in a row after which it must be so."""
    min_trials: Count = 20
    """Finished trials of all stages together, without failed ones, before which the search never ends early.

    A trial and the one that continues it count once.
    """


EndEarly = Annotated[EndEarlySection, Shorthand(named("gain_below"), ("noise",))]
