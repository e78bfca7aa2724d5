"""A study whose file was edited after it had begun: which changes are taken, which are refused, and why.

A change is safe if the recorded trials stay comparable with those to come, and keep their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.study_definition import ScheduleHorizon, StudyDefinition
from search.study_file import KeyPath, definition_differences
from search.study_views import Edit

_REFUSALS = {
    "seed": "the recorded trials, and all that is proposed after them, follow from it",
    "model": "the recorded trials trained another model",
    "data": "the recorded trials were measured on other data",
    "trainer": "the recorded trials were trained otherwise",
    "objective": "the recorded trials were judged by another objective",
    "objectives": "the recorded trials were judged by other objectives",
    "constraints": "the recorded trials were judged by other constraints",
    "schedule_horizon": "the recorded trials' learning-rate schedules span other epochs",
    "space": "the recorded trials lie in another space",
}
_SETTINGS = ("pruner", "early_stopping", "budget", "end_early", "finish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """How far a study has come.

    Attributes:
        first_numbers: Number of the first trial of each stage opened so far; the last one is open, the others are over.
        n_trials: Trials that have begun.
        finish_has_begun: Whether the search is over, for ever.
        may_be_reopened: Whether the search ended early, and nothing has been refitted, so that it may go on.
        is_finished: Whether the result is recorded. Without a `finish`, the study can be taken up again.
    """

    first_numbers: tuple[int, ...]
    n_trials: int
    finish_has_begun: bool
    is_finished: bool
    may_be_reopened: bool = False


def judge_edits(recorded: StudyDefinition, given: StudyDefinition, begun: Begun) -> tuple[Edit, ...]:
    """Return what differs, each with the reason if it cannot be taken; empty if the definitions are equal.

    Args:
        recorded: The definition that the study goes by.
        given: The edited one; it must have the same stores.
        begun: How far the study has come.
    """
    return tuple(
        Edit(line=each.line, refusal=_refusal(each.path, recorded, given, begun))
        for each in definition_differences(recorded, given)
    )


def _refusal(path: KeyPath, recorded: StudyDefinition, given: StudyDefinition, begun: Begun) -> str:
    key = str(path[0])
    if path[:2] == ("resources", "devices_per_trial"):
        return "the recorded trials had another number of devices each, which changes the batch that they saw at a time"
    if key == "resources":
        return ""
    if key in _REFUSALS:
        return _REFUSALS[key]
    if begun.is_finished and begun.finish_has_begun:
        return (
            "the study is finished: the best have been confirmed and refitted, and the test split is no longer unseen"
        )
    if key not in ("stages", *_SETTINGS):
        return "the study began with it"
    if begun.finish_has_begun and not (key == "end_early" and begun.may_be_reopened):
        return "the search is over: the finish has begun"
    return _stage_refusal(path, recorded, given, begun) if key == "stages" else ""


def _stage_refusal(path: KeyPath, recorded: StudyDefinition, given: StudyDefinition, begun: Begun) -> str:
    if len(path) < 2 or not isinstance(path[1], int):
        return "the stages have begun in another order"
    index, key = path[1], path[2] if len(path) > 2 else ""
    if index < len(begun.first_numbers):
        return _opened_stage_refusal(index, str(key), recorded, given, begun)
    horizons = {each.longest_epochs for each in (recorded, given)}
    if recorded.schedule_horizon is ScheduleHorizon.STUDY and len(horizons) > 1 and key in ("", "max_epochs"):
        return (
            f"the recorded trials' learning-rate schedules span {recorded.longest_epochs} epochs, "
            "the longest stage's (schedule_horizon: study)"
        )
    return ""


def _opened_stage_refusal(index: int, key: str, recorded: StudyDefinition, given: StudyDefinition, begun: Begun) -> str:
    name = recorded.stages[index].name
    if index == 0 and key == "narrow":  # it has the declared ranges, whatever the study's rule is
        return ""
    if index >= len(given.stages) or key in ("", "name"):
        return f"stage {name} has begun"
    if index < len(begun.first_numbers) - 1:
        return (
            f"stage {name} is over, and its trials' numbers are followed by those of {recorded.stages[index + 1].name}"
        )
    n_begun = begun.n_trials - begun.first_numbers[index]
    if key == "n_trials":
        n_given = given.stages[index].n_trials
        is_fewer = n_given is not None and n_given < n_begun
        return f"stage {name} has {n_begun} trials already" if is_fewer else ""
    if key in ("sampler", "promote"):
        return ""
    if key == "narrow":
        return f"the ranges of stage {name} were settled when it opened"
    return f"stage {name} has begun, and its trials are compared at equal epochs"
