"""Stage openings and results as plain data, for the stores, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lightning_modules.ensembles.ensemble_gain import EnsembleGain
from search.messages import TestResult
from search.past import Past, PastObservation, StartingPoint
from search.study_file import space_from_plain, space_to_plain
from search.study_record import (
    Confirmation,
    CrowdedEdge,
    EarlyEnd,
    NarrowedSpace,
    Outlook,
    RangeChange,
    RangeDecision,
    StageOpening,
    StudyResult,
)


def opening_to_plain(opening: StageOpening) -> dict[str, Any]:
    """Return the opening as JSON-able data."""
    return {
        "index": opening.index,
        "name": opening.name,
        "first_trial_number": opening.first_trial_number,
        "time_ms": opening.time_ms,
        "space": space_to_plain(opening.narrowed.space),
        "decisions": [dataclasses.asdict(decision) for decision in opening.narrowed.decisions],
    }


def opening_from_plain(plain: Mapping[str, Any]) -> StageOpening:
    """Invert `opening_to_plain`."""
    decisions = tuple(
        RangeDecision(**{**decision, "change": RangeChange(decision["change"])}) for decision in plain["decisions"]
    )
    return StageOpening(
        index=plain["index"],
        name=plain["name"],
        first_trial_number=plain["first_trial_number"],
        time_ms=plain["time_ms"],
        narrowed=NarrowedSpace(space=space_from_plain(plain["space"]), decisions=decisions),
    )


def early_end_to_plain(end: EarlyEnd) -> dict[str, Any]:
    """Return the early end as JSON-able data."""
    return dataclasses.asdict(end)


def early_end_from_plain(plain: Mapping[str, Any]) -> EarlyEnd:
    """Invert `early_end_to_plain`."""
    outlook = plain["outlook"]
    return EarlyEnd(**{**plain, "outlook": None if outlook is None else Outlook(**outlook)})


def result_to_plain(result: StudyResult) -> dict[str, Any]:
    """Return the result as JSON-able data."""
    return dataclasses.asdict(result)


def result_from_plain(plain: Mapping[str, Any]) -> StudyResult:
    """Invert `result_to_plain`."""
    confirmations = tuple(_confirmation(each) for each in plain["confirmations"])
    return StudyResult(
        **{
            **plain,
            "confirmations": confirmations,
            "refit_keys": tuple(plain["refit_keys"]),
            "test_members": tuple(plain["test_members"]),
            "notices": tuple(plain["notices"]),
            "ensemble_gain": {name: _gain(each) for name, each in plain.get("ensemble_gain", {}).items()},
            "crowded_edges": tuple(CrowdedEdge(**each) for each in plain.get("crowded_edges", ())),
        }
    )


def _gain(plain: Mapping[str, Any]) -> EnsembleGain:
    return EnsembleGain(**{**plain, **{name: tuple(plain.get(name, ())) for name in ("by_seed", "by_left_out")}})


def _confirmation(plain: Mapping[str, Any]) -> Confirmation:
    """Return a contender; earlier versions stored no interval."""
    tuples = {key: tuple(plain[key]) for key in ("rewards", "best_epochs", "interval") if plain.get(key) is not None}
    return Confirmation(**{**plain, **tuples})


def test_result_to_plain(result: TestResult) -> dict[str, Any]:
    """Return the test's result as JSON-able data."""
    return dataclasses.asdict(result)


def test_result_from_plain(plain: Mapping[str, Any]) -> TestResult:
    """Invert `test_result_to_plain`."""
    names = ("members", "notices", "sizes", "scores", "ensembles", "confusion", "left_out")
    return TestResult(**{**plain, **{name: tuple(plain[name]) for name in names if name in plain}})


def past_to_plain(past: Past) -> dict[str, Any]:
    """Return what is taken from before a study as JSON-able parts of some kilobytes each, none if it is nothing."""
    parts: dict[str, Any] = {}
    if past.starting_points:
        parts["starting_points"] = [dataclasses.asdict(each) for each in past.starting_points]
    for index, observations in enumerate(past.studies):
        parts[f"study.{index}"] = [dataclasses.asdict(each) for each in observations]
    if past.seed is not None:
        parts["seed"] = [past.seed]
    return parts


def past_from_plain(parts: Mapping[str, Any]) -> Past:
    """Invert `past_to_plain`."""
    indices = sorted(int(name.rpartition(".")[2]) for name in parts if name.startswith("study."))
    return Past(
        starting_points=tuple(StartingPoint(**each) for each in parts.get("starting_points", ())),
        studies=tuple(tuple(PastObservation(**each) for each in parts[f"study.{index}"]) for index in indices),
        seed=next(iter(parts.get("seed", ())), None),
    )
