"""One staged search with a narrowing rule: zeroin's own proposals, comparable rewards and rules, without its stores.

Nothing is pruned or continued, so that the ranges are all that differs between two searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from epoch_meter import BudgetSpentError, EpochMeter
from lcbench_surface import LCBENCH, LCBenchSurface
from oracle_ranges import oracle_ranges, oracle_share
from quality_surface import Surface, SurfaceError, draw_seed
from ranged_surface import optimum_of, ranged_surface
from surface_trials import OBJECTIVE, declared_space, finished_trial, surface_point

from search.comparable_rewards import ComparableRewards, Observation
from search.narrowing import RULE_NAMES, declared, narrow
from search.narrowing.evidence import MIN_TRIALS
from search.sampling import outside_point, propose
from search.search_space import Dimension, Hyperparameters, SearchSpace
from search.seeds import derived_seed
from search.study_definition import NarrowRule

UNTIL_SPENT = 1_000_000
"""Trials of a stage that ends with the budget."""

PLANS: dict[str, tuple[tuple[int, float], ...]] = {
    "starter": ((8, 0.25), (8, 1.0), (UNTIL_SPENT, 1.0)),
    "long": ((24, 4 / 52), (12, 12 / 52), (6, 36 / 52), (UNTIL_SPENT, 1.0)),
    "short": ((48, 2 / 24), (24, 6 / 24), (12, 1.0)),
}
"""Trials and share of the epochs of a full training, stage by stage; the first is that of `zeroin init`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What searches must have in common to be compared.

    Attributes:
        regime: ``lcbench``, or a regime of the synthetic surface.
        noise: Of the synthetic surface.
        plan: One of `PLANS`.
        n_epochs: Epochs of a full training.
        budget_epochs: Epochs of a search at most.
        sampler: Of the stages after the first.
    """

    regime: str
    noise: float
    plan: str
    n_epochs: int
    budget_epochs: int
    sampler: str

    def __str__(self) -> str:
        noise = "" if self.regime == LCBENCH else f", noise {self.noise:g}"
        return f"{self.regime}{noise}, {self.plan} plan, {self.sampler}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One search to be made; `rule` is one of `narrow_rule`, and holds with `outside_share` for all later stages."""

    conditions: Conditions
    rule: str
    outside_share: float
    instance: str
    seed: int

    def __str__(self) -> str:
        share = f", {self.outside_share:g} outside" if self.outside_share else ""
        return f"{self.conditions}, {self.rule}{share}, {self.instance} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search that was made.

    Attributes:
        setting: Of it.
        improvements: Epochs spent at each new incumbent, and its normalized regret.
        is_cut_off: Whether the optimum lay outside the ranges of each stage; empty if nobody knows where it is.
        width: Mean over the dimensions of the last ranges' width in declared widths.
    """

    setting: Setting
    improvements: Sequence[tuple[int, float]]
    is_cut_off: Sequence[bool]
    width: float

    def __str__(self) -> str:
        return f"{100.0 * self.regret:.2f}"

    @property
    def regret(self) -> float:
        """Normalized regret of the incumbent at the end."""
        return self.improvements[-1][1]


def open_surface(conditions: Conditions, instance: str, *, data: Path | None) -> Surface:
    """Return an instance's surface.

    Raises:
        SurfaceError: If it cannot be had.
    """
    if conditions.regime != LCBENCH:
        return ranged_surface(conditions.regime, instance, noise=conditions.noise, n_epochs=conditions.n_epochs)
    return LCBenchSurface(data, instance)


def narrow_rule(text: str, *, outside_share: float) -> NarrowRule:
    """Return what ``quantile_box``, or ``posterior:0.8`` with its probability, stands for in a study file.

    Raises:
        SurfaceError: If it stands for nothing.
    """
    name, colon, probability = text.partition(":")
    try:
        if name not in RULE_NAMES or (colon and name != "posterior"):
            raise ValueError
        settings = {"probability": float(probability)} if colon else {}
    except ValueError:
        raise SurfaceError(
            f"a rule must be one of {', '.join(RULE_NAMES)}, or posterior:PROBABILITY, but got {text!r}."
        ) from None
    return NarrowRule(rule=name, outside_share=outside_share, **settings)


def make_search(setting: Setting, *, data: Path | None) -> Search:
    """Make a search in this process.

    Raises:
        SurfaceError: If its surface cannot be had.
    """
    surface = open_surface(setting.conditions, setting.instance, data=data)
    meter = EpochMeter(surface=surface, budget_epochs=setting.conditions.budget_epochs)
    boxes = list(_stages(setting, meter))
    optimum, space = optimum_of(surface), declared_space(surface)
    return Search(
        setting=setting,
        improvements=tuple((spent, round(regret, 7)) for spent, regret in meter.improvements),
        is_cut_off=() if optimum is None else tuple(not box.contains(optimum) for box in boxes),
        width=round(sum(_width(box[each.name]) / _width(each) for box in boxes[-1:] for each in space) / len(space), 4),
    )


def _width(dimension: Dimension) -> float:
    range_ = dimension.range
    return float(range_.scale(range_.high) - range_.scale(range_.low))


def _stages(setting: Setting, meter: EpochMeter) -> Iterator[SearchSpace]:
    """Search until the plan or the budget ends, and yield the ranges of each stage that begins."""
    space = declared_space(meter.surface)
    rewards = ComparableRewards(OBJECTIVE)
    box, number = declared(space).space, 0
    for stage, (n_trials, share) in enumerate(PLANS[setting.conditions.plan]):
        if stage:
            box = _narrowed(setting, rewards.observations(), space=space, box=box, surface=meter.surface)
        yield box
        for index in range(n_trials):
            point, is_outside = _point(setting, rewards, space=space, box=box, stage=stage, number=number, index=index)
            n_epochs = max(1, round(share * meter.surface.n_epochs))
            try:
                values = [meter.train(surface_point(point), epoch) for epoch in range(1, n_epochs + 1)]
            except BudgetSpentError:
                return
            rewards.add(
                finished_trial(
                    point,
                    values,
                    number=number,
                    stage=stage,
                    horizon_epochs=meter.surface.n_epochs,
                    is_outside=is_outside,
                )
            )
            number += 1


def _narrowed(
    setting: Setting, observations: Sequence[Observation], *, space: SearchSpace, box: SearchSpace, surface: Surface
) -> SearchSpace:
    """Return the ranges of a stage that follows these trials."""
    share = oracle_share(setting.rule)
    if share is None:
        rule = narrow_rule(setting.rule, outside_share=setting.outside_share)
        return narrow(observations, box, direction=OBJECTIVE.direction, rule=rule, study_space=space).space
    optimum = optimum_of(surface)
    assert optimum is not None  # the command has checked it
    if len(observations) < MIN_TRIALS:
        return box
    return oracle_ranges(space, optimum, share=share, instance=setting.instance)


def _point(
    setting: Setting,
    rewards: ComparableRewards,
    *,
    space: SearchSpace,
    box: SearchSpace,
    stage: int,
    number: int,
    index: int,
) -> tuple[Hyperparameters, bool]:
    """Return a trial's point, and whether it lies outside the ranges on purpose."""
    seed = draw_seed(setting.instance, setting.seed)
    stage_seed = derived_seed(seed, "stage", stage)
    if stage:
        outside = outside_point(
            declared=space, box=box, share=setting.outside_share, stage_seed=stage_seed, index_in_stage=index
        )
        if outside is not None:
            return outside, True
    point = propose(
        box=box,
        sampler=setting.conditions.sampler if stage else "qmc",
        direction=OBJECTIVE.direction,
        observations=rewards.observations() if stage else (),
        running=(),
        stage=str(stage),
        stage_seed=stage_seed,
        trial_seed=derived_seed(seed, "sampling", number),
        index_in_stage=index,
        target_epochs=setting.conditions.n_epochs,
        declared=space,
    )
    return point, False
