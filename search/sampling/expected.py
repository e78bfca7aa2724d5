"""Points where priors expect good values, and elsewhere often enough that a wrong prior is overcome.

Half of the trials of a random or quasi-random stage ignore all priors: they show what the others miss, and keep a wrong
prior from costing more than their share. In the others, a dimension's values come from its prior as far as that lies in
the range, with a small uniform share on the range's scale beside it. The less of the prior lies in the range, the less
it counts, so that ranges which have moved away from a wrong prior are sampled evenly; and it counts only as far as the
trials speak for it. A quasi-random point is pushed through the quantile function, coordinate by coordinate, which keeps
a sequence of points as evenly spread over the prior as it was over the range.

A model asks the prior less and less: the share of trials whose expected dimensions are drawn from the mixture fades
like one over the number of trials, as the prior's exponent does in piBO.

Source: Hvarfner et al., "piBO: augmenting acquisition functions with user beliefs for Bayesian optimization", ICLR 2022
(arXiv 2204.11051); Mallik et al., "PriorBand", NeurIPS 2023 (arXiv 2306.12370), for mixing a prior with uniform draws,
in equal parts while trainings are short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from search.priors import ChoicePrior, NormalPrior
from search.sampling.prior_trust import prior_trust
from search.sampling.request import ProposalRequest
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value

EVEN_SHARE = 0.5
"""Share of the trials of a random or quasi-random stage that know nothing of priors."""

FADING_TRIALS = 4
"""A model that knows of n trials asks the prior with the probability ``FADING_TRIALS / (FADING_TRIALS + n)``."""

_UNIFORM_SHARE = 0.05  # of a dimension's values in the other trials, while all of its prior lies in the range
_N_HALVINGS = 50


def has_priors(space: SearchSpace) -> bool:
    """Whether any dimension has one."""
    return any(dimension.prior is not None for dimension in space)


def expected_point(request: ProposalRequest, units: Mapping[str, float]) -> dict[str, Value]:
    """Turn unit coordinates, one per dimension, into hyperparameters, those with a prior by its mixture's quantiles."""
    trust = _trust(request)
    return request.box.from_units(
        {each.name: expected_unit(each, units[each.name], trust=trust.get(each.name, 0.0)) for each in request.box}
    )


def expected_unit(dimension: Dimension, unit: float, *, trust: float = 1.0) -> float:
    """Return the quantile of a dimension's mixture as a unit coordinate; the same without a prior.

    Args:
        dimension: Its share of zeros is left as it is.
        unit: In ``[0, 1]``.
        trust: By how much the prior counts, in ``[0, 1]``.
    """
    weight = trust * (1.0 - _UNIFORM_SHARE)
    if isinstance(dimension.prior, ChoicePrior):
        return _choice_quantile(dimension, dimension.prior, unit, weight=weight)
    zeros = dimension.zero_share
    if dimension.prior is None or unit < zeros:
        return unit
    share = _quantile(dimension, dimension.prior, (unit - zeros) / (1.0 - zeros), weight=weight)
    return min(zeros + (1.0 - zeros) * share, 1.0)


def with_priors(point: dict[str, Value], request: ProposalRequest) -> dict[str, Value]:
    """Return what a model proposes with its expected dimensions drawn anew, if this trial is one that asks the prior.

    Args:
        point: The model's proposal.
        request: What it was asked by.
    """
    if not has_priors(request.box):
        return point
    random = np.random.default_rng([request.trial_seed, 1])  # another stream than the sampler's own
    if random.random() >= fading_share(request):
        return point
    units, chances = (
        dict(zip(request.box.names, row, strict=True)) for row in random.random((2, len(request.box))).tolist()
    )
    trust = _trust(request)
    drawn = {
        name: request.box[name].from_unit(expected_unit(request.box[name], units[name]))
        for name in trust
        if chances[name] < trust[name]
    }
    return completed(request.box, drawn, point, units=units)


def fading_share(request: ProposalRequest) -> float:
    """Return the probability with which a model's trial asks what was believed before the study."""
    n_known = len(request.all_observations) + len(request.running)
    return FADING_TRIALS / (FADING_TRIALS + n_known)


def completed(
    space: SearchSpace, given: Hyperparameters, proposed: Hyperparameters, *, units: Mapping[str, float]
) -> dict[str, Value]:
    """Return the values given, those that they lack from a proposal, and what neither has from unit coordinates.

    Args:
        space: Tells which dimensions are active; values that turn out not to be are left out.
        given: Some values; they need not lie in the space's ranges.
        proposed: A point of the space.
        units: A coordinate in ``[0, 1]`` per dimension, for those that only the given values make active.
    """
    values: dict[str, Value] = {}
    for dimension in space:
        if dimension.is_active(values):
            if dimension.name in given:
                values[dimension.name] = given[dimension.name]
            elif dimension.name in proposed:
                values[dimension.name] = proposed[dimension.name]
            else:
                values[dimension.name] = dimension.from_unit(units[dimension.name])
    return values


def _trust(request: ProposalRequest) -> dict[str, float]:
    return prior_trust(request.known, request.all_observations, request.direction)


def _choice_quantile(dimension: Dimension, prior: ChoicePrior, unit: float, *, weight: float) -> float:
    assert isinstance(dimension.range, Choices)
    shares = [prior.share(value) for value in dimension.range.values]
    left, n_values = weight * math.fsum(shares) + 1.0 - weight, len(shares)
    below = 0.0
    for index, share in enumerate(shares):
        below += (weight * share + (1.0 - weight) / n_values) / left
        if unit < below:
            return (index + 0.5) / n_values
    return (n_values - 0.5) / n_values


def _quantile(dimension: Dimension, prior: NormalPrior, share: float, *, weight: float) -> float:
    """Return which share of the range lies below the mixture's quantile, by halving."""
    assert not isinstance(dimension.range, Choices)
    low, high = dimension.edges()
    mean, spread = dimension.range.scale(prior.mean), prior.spread

    def normal(at: float) -> float:
        return 0.5 * math.erfc((mean - (low + at * (high - low))) / (spread * math.sqrt(2.0)))

    def below(at: float) -> float:
        return weight * (normal(at) - normal(0.0)) + (1.0 - weight) * at

    wanted, first, last = share * below(1.0), 0.0, 1.0
    for _ in range(_N_HALVINGS):
        middle = (first + last) / 2.0
        first, last = (middle, last) if below(middle) < wanted else (first, middle)
    return (first + last) / 2.0
