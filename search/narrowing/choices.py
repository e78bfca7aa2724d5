"""Dropping choices (and the extra zero of a range) that are worse than the best choice beyond doubt."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from search.comparable_rewards import Observation
from search.narrowing.decisions import Pair, decided
from search.narrowing.evidence import is_zero, n_best, ranked, worse_p_value
from search.range_text import choice_texts
from search.search_space import Choices, Dimension, Value
from search.study_definition import Direction
from search.study_record import RangeChange

MIN_TRIALS_PER_CHOICE = 5
RISK = 0.05  # of dropping any choice that is as good as the best


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Choices to drop, and why the choices are as they are.

    Attributes:
        labels: What to drop.
        reason: In words with figures.
        figures: ``p_value <label>`` (after correction) and ``n_trials <label>``.
    """

    labels: tuple[Value, ...] = ()
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


def worse_choices(
    observations: Sequence[Observation], labels: Mapping[int, Value], order: Sequence[Value], direction: Direction
) -> Dropped:
    """Return the choices that are worse than the best one.

    A choice goes if it has enough trials, none of them among the best quarter, and a Mann-Whitney test against the
    choice with the best median says that it is worse, corrected for the number of pairs of choices (Bonferroni over all
    pairs, since the best is picked from the same trials).

    Args:
        observations: Trials in which the dimension is active.
        labels: Trial number to its choice.
        order: The choices there are, as declared.
        direction: Whether more reward is better.
    """
    rewards: dict[Value, list[float]] = {label: [] for label in order}
    for observation in observations:
        rewards[labels[observation.number]].append(direction.sign * observation.reward)
    judged = [label for label in order if len(rewards[label]) >= MIN_TRIALS_PER_CHOICE]
    if len(order) < 2 or len(judged) < 2:
        return Dropped(reason=_too_few(rewards))
    leaders = {labels[each.number] for each in ranked(observations, direction)[: n_best(observations)]}
    reference = max(judged, key=lambda label: (statistics.median_low(rewards[label]), -order.index(label)))
    n_pairs = len(order) * (len(order) - 1) // 2
    texts = choice_texts(order)
    figures: dict[str, float] = {f"n_trials {texts[label]}": float(len(rewards[label])) for label in order}
    dropped = []
    for label in judged:
        if label == reference:
            continue
        p_value = min(1.0, n_pairs * worse_p_value(rewards[label], rewards[reference]))
        figures[f"p_value {texts[label]}"] = p_value
        if p_value < RISK and label not in leaders:
            dropped.append(label)
    reason = _reason([texts[label] for label in dropped], texts[reference], figures)
    return Dropped(labels=tuple(dropped), reason=reason, figures=figures)


def without_worse(dimension: Dimension, trials: Sequence[Observation], direction: Direction) -> Pair:
    """Return a dimension of choices without those that are worse, on the trials in which it is active."""
    assert isinstance(dimension.range, Choices)
    labels = {each.number: each.hyperparameters[dimension.name] for each in trials}
    verdict = worse_choices(trials, labels, dimension.range.values, direction)
    left = tuple(value for value in dimension.range.values if value not in verdict.labels)
    after = replace(dimension, range=Choices(values=left))
    change = RangeChange.CHOICES_DROPPED if verdict.labels else RangeChange.KEPT
    return after, decided(dimension, after, change, verdict.reason, verdict.figures)


def without_worse_zero(pair: Pair, dimension: Dimension, trials: Sequence[Observation], direction: Direction) -> Pair:
    """Return what a rule made of a numeric `dimension`, without its extra zero if that is worse than the others.

    A range that holds 0 itself goes on holding it, as one value among its others.
    """
    numeric, decision = pair
    if dimension.zero_share == 0.0:
        return pair
    zeros = {each.number: is_zero(each.hyperparameters[dimension.name], dimension) for each in trials}
    labels: dict[int, Value] = {number: "zero" if zero else "not zero" for number, zero in zeros.items()}
    verdict = worse_choices(trials, labels, ("zero", "not zero"), direction)
    if "zero" not in verdict.labels:
        return pair
    after = replace(numeric, zero_share=0.0)
    change = RangeChange.CHOICES_DROPPED if decision.change is RangeChange.KEPT else decision.change
    dropped = "extra zero dropped, the range itself still holds 0" if after.contains(0) else "zero dropped"
    reason = f"{decision.reason}; {dropped}: {verdict.reason}"
    figures = {**decision.figures, **verdict.figures}
    return after, decided(dimension, after, change, reason, figures, cut_off=decision.cut_off)


def _reason(dropped: Sequence[str], reference: str, figures: Mapping[str, float]) -> str:
    if not dropped:
        return f"no choice is worse than {reference} beyond doubt"
    each = ", ".join(
        f"{label} (p = {figures[f'p_value {label}']:.2g}, {figures[f'n_trials {label}']:.0f} trials)"
        for label in dropped
    )
    return f"worse than {reference}, and none among the best quarter: {each}"


def _too_few(rewards: Mapping[Value, Sequence[float]]) -> str:
    if len(rewards) < 2:
        return "only one choice"
    texts = choice_texts(list(rewards))
    counts = ", ".join(f"{texts[label]} {len(values)}" for label, values in rewards.items())
    return f"too few trials to tell the choices apart ({counts}; at least {MIN_TRIALS_PER_CHOICE} of two are needed)"
