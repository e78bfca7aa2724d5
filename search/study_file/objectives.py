"""The study file's `objective` or `objectives`, and its `constraints`: rules, and the way to data and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from search.constraint import Constraint
from search.study_definition import Direction, FurtherObjective, Objective
from search.study_file.document import shown
from search.study_file.problems import Problem
from search.study_file.schema import ObjectiveSection, StudySection

MULTI_OBJECTIVE_SAMPLERS = ("random", "qmc", "tpe", "gp", "staged_gp", "policy", "mixed", "portfolio")
"""Samplers that know what to do with several objectives, or are content with a trial's place among all."""


def objective_of(study: StudySection) -> Objective:
    """Return what a study optimizes; no rule of `broken_objectives` may be broken."""
    first, *others = _sections(study)
    return Objective(
        monitor=first.monitor,
        direction=Direction(first.direction),
        gap_weight=first.gap_weight,
        gap_tolerance=first.gap_tolerance,
        further=tuple(FurtherObjective(monitor=each.monitor, direction=Direction(each.direction)) for each in others),
        constraints=tuple(
            Constraint(metric=metric, at_most=each.at_most, at_least=each.at_least)
            for metric, each in study.constraints.items()
        ),
    )


def objective_to_plain(objective: Objective) -> dict[str, Any]:
    """Return the keys of the study file that say what is optimized; those that a study has none of are left out."""
    first = {
        "monitor": objective.monitor,
        "direction": objective.direction.value,
        "gap_weight": objective.gap_weight,
        "gap_tolerance": objective.gap_tolerance,
    }
    others = [{"monitor": each.monitor, "direction": each.direction.value} for each in objective.further]
    constraints = {
        each.metric: {
            name: bound for name, bound in (("at_most", each.at_most), ("at_least", each.at_least)) if bound is not None
        }
        for each in objective.constraints
    }
    plain: dict[str, Any] = {"objectives": [first, *others]} if others else {"objective": first}
    return {**plain, "constraints": constraints} if constraints else plain


def broken_objectives(study: StudySection) -> Iterator[Problem]:
    """Yield every rule that the objectives, the constraints, or samplers because of them, break."""
    if study.objective is None and study.objectives is None:
        message = (
            "is required (a mapping with the keys monitor, direction), or `objectives`, a list of them, but got none."
        )
        yield Problem(path=("objective",), message=message)
    elif study.objective is not None and study.objectives is not None:
        yield Problem(path=("objectives",), message="must be left out beside `objective`, but got both.")
    if study.objectives is not None:
        yield from _list(study, study.objectives)
    elif study.finish is not None and study.finish.winner != "first_objective":
        message = f"must be first_objective with one objective, but got {study.finish.winner!r}."
        yield Problem(path=("finish", "winner"), message=message)
    yield from _constraints(study)


def _sections(study: StudySection) -> list[ObjectiveSection]:
    return [study.objective] if study.objective is not None else study.objectives or []


def _list(study: StudySection, sections: list[ObjectiveSection]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, section in enumerate(sections):
        if section.monitor in seen:
            yield Problem(
                path=("objectives", index, "monitor"),
                message=f"must be another one than those before, but {shown(section.monitor)} is also objective "
                f"{seen[section.monitor]}.",
            )
        seen.setdefault(section.monitor, index)
        for key in ("gap_weight", "gap_tolerance") if index else ():
            value = getattr(section, key)
            if value:
                yield Problem(
                    path=("objectives", index, key),
                    message=f"belongs to the first objective, whose reward it is part of, but got {shown(value)} here.",
                )
    for index, stage in enumerate(study.stages):
        if stage.sampler is not None and stage.sampler not in MULTI_OBJECTIVE_SAMPLERS:
            yield Problem(
                path=("stages", index, "sampler"),
                message=f"must be one of {', '.join(MULTI_OBJECTIVE_SAMPLERS)} with several objectives, which others "
                f"cannot weigh, but got {stage.sampler!r}.",
            )


def _constraints(study: StudySection) -> Iterator[Problem]:
    for metric, section in study.constraints.items():
        path = ("constraints", metric)
        if section.at_most is None and section.at_least is None:
            yield Problem(path=path, message="must have at_most, at_least or both, but got neither.")
        elif section.at_most is not None and section.at_least is not None and section.at_least > section.at_most:
            yield Problem(
                path=(*path, "at_least"),
                message=f"`at_least <= at_most` must hold, but got {shown(section.at_least)} and at_most "
                f"{shown(section.at_most)}.",
            )
