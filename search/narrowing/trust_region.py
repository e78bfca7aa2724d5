"""The `trust_region` rule: a box about the incumbent that grows with each stage that found something better.

The incumbent is the trial that a Gaussian process of all trials thinks best, which a lucky one rarely is; one that
diverged, or breaks a constraint, never is. The box's length begins at 0.8 of the declared widths, is doubled (to 1.6
at most) after a stage whose best configuration, by the same process, is better than all before, and halved (to 1/16 at
least) after one without; a configuration counts for the stage that tried it first, also where a later one trained it
longer. A dimension's width is that length times its lengthscale in the process, relative to the geometric
mean of those that matter: what matters much is narrowed more. It is never less than half of the current width, and
never grows to where all trials failed (`no_return`); one along which the process hardly changes keeps its range.
Choices are dropped only when they are worse beyond doubt.

Source: Eriksson et al., "Scalable global optimization via local Bayesian optimization" (TuRBO), NeurIPS 2019; there a
success is three improvements in a row, a failure as many without as there are dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.comparable_rewards import Observation
from search.narrowing.choices import without_worse, without_worse_zero
from search.narrowing.decisions import Pair, kept, kept_all, put_together
from search.narrowing.edges import edge_crowding
from search.narrowing.evidence import active, is_zero, too_few
from search.narrowing.guard import guarded
from search.narrowing.interval import Interval, interval_of
from search.narrowing.no_return import opened
from search.narrowing.optimum import IDLE_LENGTH, Model, model_of
from search.narrowing.request import NarrowingRequest
from search.range_text import number_text
from search.search_space import Choices, Dimension
from search.study_record import NarrowedSpace

FIRST_LENGTH, MIN_LENGTH, MAX_LENGTH = 0.8, 1.0 / 16.0, 1.6
_FACTOR = 2.0


def trust_region(request: NarrowingRequest) -> NarrowedSpace:
    """Apply the rule to every dimension of the current ranges."""
    known = request.within_reach
    reason = too_few(known, what="lie in the declared ranges")
    if reason:
        return kept_all(request.space, reason)
    region = _region(request, known)
    return put_together([region.judged(dimension) for dimension in request.space])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """The box to be.

    Attributes:
        request: What the rule was given.
        model: The process.
        known: The trials that it may know, best first.
        inside: Those in the current ranges, best first.
        centre: The incumbent.
        length: Of the box, in declared widths, before it is shared out among the dimensions.
        n_successes: Stages that found something better.
        n_failures: Stages that did not.
        typical: Geometric mean of the lengthscales of the numeric dimensions that matter.
    """

    request: NarrowingRequest
    model: Model
    known: Sequence[Observation]
    inside: Sequence[Observation]
    centre: Observation
    length: float
    n_successes: int
    n_failures: int
    typical: float

    def judged(self, dimension: Dimension) -> Pair:
        reason = too_few(active(self.known, dimension.name), what="have it active")
        if reason:
            return kept(dimension, reason)
        current = active(self.inside, dimension.name)
        if isinstance(dimension.range, Choices):
            return without_worse(dimension, current, self.request.direction)
        return without_worse_zero(self._numeric(dimension), dimension, current, self.request.direction)

    def _numeric(self, dimension: Dimension) -> Pair:
        assert not isinstance(dimension.range, Choices)
        length = self.model.length(dimension.name)
        figures = {"lengthscale": length, "n_trials": float(len(self.model.trials)), "length": self.length}
        value = self.centre.hyperparameters.get(dimension.name)
        idle = self.model.idle_reason(dimension.name)
        if idle:
            return kept(dimension, idle, figures)
        if value is None or is_zero(value, self.model.space[dimension.name]):
            state = "inactive" if value is None else "zero"
            return kept(dimension, f"it is {state} in the incumbent, trial {self.centre.number}", figures)
        reachable = self.model.space[dimension.name]
        open_ = opened(reachable, dimension, self.known)
        assert not isinstance(reachable.range, Choices)
        assert not isinstance(open_.dimension.range, Choices)
        within, centre = interval_of(open_.dimension.range), dimension.range.scale(float(value))
        half = 0.5 * self.length * length / self.typical * interval_of(reachable.range).width
        return guarded(
            dimension,
            Interval(low=centre - half, high=centre + half).clipped(within),
            edge_crowding(self.inside, dimension),
            within=within,
            why=f"{self._why(dimension, weight=length / self.typical)}{open_.words()}",
            figures=figures,
            padding_share=0.0,
            furthest=open_.how_far(),
        )

    def _why(self, dimension: Dimension, *, weight: float) -> str:
        assert not isinstance(dimension.range, Choices)
        value = self.centre.hyperparameters[dimension.name]
        n_successes = self.n_successes
        found = "1 stage found a better one" if n_successes == 1 else f"{n_successes} stages found better ones"
        stages = f"{found} and {self.n_failures} did not"
        return (
            f"about {number_text(float(value), dimension.range)} of trial {self.centre.number}, the best by the model: "
            f"length {self.length:.3g} of the declared width ({stages}), times {weight:.2g} for how much it matters"
        )


def _region(request: NarrowingRequest, known: Sequence[Observation]) -> _Region:
    model = model_of(known, request.reachable, request.direction, tells_stages_apart=False)
    means = model.means().tolist()
    expected = [mean if trial.may_be_best else -math.inf for trial, mean in zip(model.trials, means, strict=True)]
    centre = max(range(len(expected)), key=lambda index: (expected[index], -model.trials[index].number))
    n_successes, n_failures, length = 0, 0, FIRST_LENGTH
    for succeeded in _successes(model.trials, expected):
        n_successes, n_failures = n_successes + succeeded, n_failures + (not succeeded)
        length = min(length * _FACTOR, MAX_LENGTH) if succeeded else max(length / _FACTOR, MIN_LENGTH)
    lengths = [model.length(each.name) for each in model.space if not isinstance(each.range, Choices)]
    logs = [math.log(length) for length in lengths if length < IDLE_LENGTH]
    return _Region(
        request=request,
        model=model,
        known=known,
        inside=request.inside,
        centre=model.trials[centre],
        length=length,
        n_successes=n_successes,
        n_failures=n_failures,
        typical=math.exp(sum(logs) / len(logs)) if logs else 1.0,
    )


def _successes(trials: Sequence[Observation], means: Sequence[float]) -> list[bool]:
    """Return, for each stage after the first, in order, whether its best configuration is better than all before.

    One that diverged, or breaks a constraint, is none: it is expected to come to -inf. So does a stage that only
    continued trials of earlier ones.
    """
    firsts: dict[str, int] = {}
    bests: dict[str, float] = {}
    for trial, mean in zip(trials, means, strict=True):
        own = (trial.number, trial.stage)
        found = trial.first_tried or own
        for number, stage in (own, found):
            firsts[stage] = min(number, firsts.get(stage, number))
        bests[found[1]] = max(mean, bests.get(found[1], -math.inf))
    in_order = [bests.get(stage, -math.inf) for stage in sorted(firsts, key=lambda stage: firsts[stage])]
    return [best > max(in_order[:index]) for index, best in enumerate(in_order) if index]
