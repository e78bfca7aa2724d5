"""The `posterior` rule: ranges that hold the optimum with a stated probability, by a Gaussian process of the trials.

Of the functions drawn from the process's posterior over all that was declared, each has its maximum somewhere. The
numeric ranges become, each on its own scale, central intervals that leave out equal shares of these places and together
hold the stated share of them; padded by 15 % on each side, but never less than half of the current width. Where trials
of earlier stages outside the current range speak for it, a range widens again, but not to where all trials failed
(`no_return`). A dimension along which the process hardly changes keeps its range. A choice goes if next to no drawn
function has its maximum there, and it has enough trials, none of them among the best quarter. Conditional dimensions
are judged by the draws in which they are active, `or_zero` ranges by those that are not zero.

The probability is the model's: it is as good as the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.comparable_rewards import Observation
from search.narrowing.choices import MIN_TRIALS_PER_CHOICE
from search.narrowing.decisions import Pair, choices_change, decided, kept, kept_all, put_together
from search.narrowing.edges import edge_crowding
from search.narrowing.evidence import MIN_TRIALS, TRIALS_PER_DIMENSION, active, failure_words, is_zero, leaders, too_few
from search.narrowing.guard import guarded
from search.narrowing.interval import Interval, interval_of
from search.narrowing.no_return import Open, opened
from search.narrowing.optimum import Model, model_of
from search.narrowing.request import NarrowingRequest
from search.narrowing.surrogate import Array
from search.range_text import choice_texts, number_text
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value
from search.study_record import NarrowedSpace, RangeChange

NEGLIGIBLE_PART = 0.2
"""Part of what a range may lose that a choice may hold and still be dropped: 1 % with a probability of 95 %."""

_N_HALVINGS = 20

MIN_DRAWS = 16  # with fewer, the ends of an interval mean nothing


def posterior(request: NarrowingRequest) -> NarrowedSpace:
    """Apply the rule to every dimension of the current ranges."""
    known = request.within_reach
    reason = too_few(known, what="lie in the declared ranges", n_needed=trials_needed(len(request.space)))
    if reason:
        return kept_all(request.space, reason)
    model = model_of(known, request.reachable, request.direction, tells_stages_apart=True)
    ground = {each.name: opened(each, request.space[each.name], known) for each in model.space}
    optima = model.optima(SearchSpace(dimensions=tuple(each.dimension for each in ground.values())))
    may_change = [model.space[each.name] for each in request.space if _may_change(each, model, known)]
    tail = _tail(may_change, optima, probability=request.rule.probability)
    judge = _Judge(
        request=request, model=model, known=known, inside=request.inside, ground=ground, optima=optima, tail=tail
    )
    return put_together([judge.judged(dimension) for dimension in request.space])


def trials_needed(n_dimensions: int) -> int:
    """Return below how many trials the rule keeps all ranges: with few for many dimensions the model is too sure."""
    return max(MIN_TRIALS, TRIALS_PER_DIMENSION * n_dimensions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """What is known.

    Attributes:
        request: What the rule was given.
        model: The process.
        known: The trials that it may know, best first.
        inside: Those in the current ranges, best first.
        ground: Where the optimum is looked for, by dimension.
        optima: Where the drawn functions have their maxima there.
        tail: Share of these that a numeric range leaves out at each end.
    """

    request: NarrowingRequest
    model: Model
    known: Sequence[Observation]
    inside: Sequence[Observation]
    ground: Mapping[str, Open]
    optima: Sequence[Hyperparameters]
    tail: float

    def judged(self, dimension: Dimension) -> Pair:
        name = dimension.name
        reason = too_few(active(self.known, name), what="have it active")
        if reason:
            return kept(dimension, reason)
        drawn = [each[name] for each in self.optima if name in each]
        if len(drawn) < MIN_DRAWS:
            return kept(dimension, f"only {len(drawn)} of {len(self.optima)} draws have the optimum where it is active")
        if isinstance(dimension.range, Choices):
            return self._choices(dimension, dimension.range, drawn)
        return self._with_zero(dimension, drawn)

    def _choices(self, dimension: Dimension, choices: Choices, drawn: Sequence[Value]) -> Pair:
        reachable = self.model.space[dimension.name].range
        assert isinstance(reachable, Choices)
        shares = {label: drawn.count(label) / len(drawn) for label in reachable.values}
        trials = active(self.known, dimension.name)
        labels = [each.hyperparameters[dimension.name] for each in trials]
        best = {each.hyperparameters[dimension.name] for each in leaders(trials)}
        counts = {label: labels.count(label) for label in reachable.values}
        most = max(shares.values())
        left = tuple(
            label
            for label in reachable.values
            if shares[label] == most
            or self._stays(shares[label], counts[label], is_best=label in best, is_there=label in choices.values)
        )
        after = replace(dimension, range=Choices(values=left))
        texts = choice_texts(reachable.values)
        figures = {f"probability {texts[label]}": share for label, share in shares.items()}
        figures |= {f"n_trials {texts[label]}": float(count) for label, count in counts.items()}
        notes = {
            label: self._mercy(shares[label], is_best=label in best)
            if label in left
            else _barred_words([each for each in trials if each.hyperparameters[dimension.name] == label])
            if not self.ground[dimension.name].dimension.contains(label)
            else ""
            for label in reachable.values
        }
        each = ", ".join(
            f"{texts[label]} {shares[label]:.2g} ({counts[label]} trials{notes[label]})" for label in reachable.values
        )
        reason = f"the optimum's probability by choice: {each}"
        return after, decided(dimension, after, choices_change(choices, Choices(values=left)), reason, figures)

    def _stays(self, share: float, n_trials: int, *, is_best: bool, is_there: bool) -> bool:
        """Whether a choice is among the next ones: easily if it is there, if it was dropped only with good reason.

        Args:
            share: Of the draws that have their optimum there.
            n_trials: How many trials have that choice.
            is_best: Whether one of the best quarter has it.
            is_there: Whether it is among the current ones.
        """
        lost = 1.0 - self.request.rule.probability
        if not is_there:
            return share >= lost
        is_known = n_trials >= MIN_TRIALS_PER_CHOICE
        return not self._is_negligible(share) or is_best or not is_known

    def _is_negligible(self, share: float) -> bool:
        return share < NEGLIGIBLE_PART * (1.0 - self.request.rule.probability)

    def _mercy(self, share: float, *, is_best: bool) -> str:
        """Return why a choice stays whose probability does not tell it, or nothing."""
        if not self._is_negligible(share):
            return ""
        if is_best:
            return "; stays, one of the best quarter has it"
        return f"; stays, fewer than {MIN_TRIALS_PER_CHOICE} tell little"

    def _with_zero(self, dimension: Dimension, drawn: Sequence[Value]) -> Pair:
        reachable = self.model.space[dimension.name]
        numeric = [float(value) for value in drawn if not is_zero(value, reachable)]
        after, decision = self._numeric(dimension, numeric)
        if reachable.zero_share == 0.0:
            return after, decision
        share = 1.0 - len(numeric) / len(drawn)
        trials = active(self.known, dimension.name)
        zeros = [each for each in trials if is_zero(each.hyperparameters[dimension.name], reachable)]
        n_zeros = len(zeros)
        is_best = any(is_zero(each.hyperparameters[dimension.name], reachable) for each in leaders(trials))
        stays = self._stays(share, n_zeros, is_best=is_best, is_there=dimension.zero_share > 0.0)
        figures: Mapping[str, float] = {**decision.figures, "probability zero": share, "n_trials zero": float(n_zeros)}
        if stays == (dimension.zero_share > 0.0):
            is_barred = self.ground[dimension.name].dimension.zero_share == 0.0
            mercy = self._mercy(share, is_best=is_best) if stays else _barred_words(zeros) if is_barred else ""
            told = f"{decision.reason}; zero {share:.2g} ({n_zeros} trials{mercy})" if mercy else decision.reason
            return after, replace(decision, reason=told, figures=figures)
        after = replace(after, zero_share=reachable.zero_share if stays else 0.0)
        change, verb = (RangeChange.EXTENDED, "returns") if stays else (RangeChange.CHOICES_DROPPED, "dropped")
        change = change if decision.change is RangeChange.KEPT else decision.change
        reason = (
            f"{decision.reason}; zero {verb}: it holds the optimum with a probability of {share:.2g} ({n_zeros} trials)"
        )
        return after, decided(dimension, after, change, reason, figures, cut_off=decision.cut_off)

    def _numeric(self, dimension: Dimension, drawn: Sequence[float]) -> Pair:
        assert not isinstance(dimension.range, Choices)
        figures = {
            "lengthscale": self.model.length(dimension.name),
            "n_trials": float(len(self.known)),
            "n_draws": float(len(drawn)),
        }
        idle = self.model.idle_reason(dimension.name)
        if idle:
            return kept(dimension, idle, figures)
        if len(drawn) < MIN_DRAWS:
            return kept(dimension, f"only {len(drawn)} of {len(self.optima)} draws have the optimum off zero", figures)
        open_ = self.ground[dimension.name]
        assert not isinstance(open_.dimension.range, Choices)
        low, high = _central([dimension.range.scale(value) for value in drawn], self.tail).tolist()
        ends = [number_text(dimension.range.unscale(end), dimension.range) for end in (low, high)]
        percent = f"{100.0 * (1.0 - 2.0 * self.tail):.3g} %"
        share = "more than 99 %" if percent == "100 %" else percent  # of so few draws, all are no certainty
        return guarded(
            dimension,
            Interval(low=low, high=high),
            edge_crowding(self.inside, dimension),
            within=interval_of(open_.dimension.range),
            why=f"holds the optimum with a probability of {share} in [{ends[0]}, {ends[1]}] "
            f"({len(self.known)} trials{open_.words()})",
            figures=figures,
            furthest=open_.how_far(),
        )


def _barred_words(trials: Sequence[Observation]) -> str:
    return f"; stays out, {'all of them' if len(trials) > 1 else 'it'} {failure_words(trials)}"


def _may_change(dimension: Dimension, model: Model, known: Sequence[Observation]) -> bool:
    """Whether it is a numeric one that matters, with trials enough."""
    is_numeric = not isinstance(dimension.range, Choices)
    return is_numeric and not model.idle_reason(dimension.name) and not too_few(active(known, dimension.name), what="")


def _tail(dimensions: Sequence[Dimension], optima: Sequence[Hyperparameters], *, probability: float) -> float:
    """Return which share of a dimension's places its interval may leave out at each end.

    It is the largest with which the intervals of all dimensions together hold the stated share of the places; a place
    that lacks a dimension, or is zero there, is held by its interval.

    Args:
        dimensions: Numeric ones, whose ranges may become such intervals.
        optima: The places.
        probability: The stated share, in ``(0, 1)``.
    """
    columns = [np.array([_position(each, place) for place in optima]) for each in dimensions]
    low, high = 0.0, (1.0 - probability) / 2.0
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _share_held(columns, middle) >= probability else (low, middle)
    return low


def _position(dimension: Dimension, place: Hyperparameters) -> float:
    value = place.get(dimension.name)
    if value is None or is_zero(value, dimension):
        return math.nan
    assert not isinstance(dimension.range, Choices)
    return dimension.range.scale(float(value))


def _share_held(columns: Sequence[Array], tail: float) -> float:
    is_held = np.ones(len(columns[0]) if columns else 1, dtype=bool)
    for column in columns:
        known = column[~np.isnan(column)]
        if len(known) >= MIN_DRAWS:
            low, high = _central(known, tail)
            is_held &= np.isnan(column) | ((column >= low) & (column <= high))
    return float(np.mean(is_held))


def _central(positions: Sequence[float] | Array, tail: float) -> Array:
    """Return the ends of the interval that leaves out such a share at each end, shape ``(2,)``."""
    ends: Array = np.quantile(positions, (tail, 1.0 - tail))
    return ends
