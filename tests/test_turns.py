"""Samplers that share a study in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from no_tracker import NoTracker
from optuna.samplers import RandomSampler
from optuna_surface import SPACE, loss
from plain_study import BELL
from study_runs import run_session
from virtual_engine import VirtualEngine, bell_curve

from search.messages import TrialAssignment
from search.paths import StateDirectory
from search.samplers.mixed import MixedSampler
from search.samplers.policy import PolicySampler
from search.samplers.staged_gp import StagedGPSampler
from search.samplers.turns import turn
from search.sampling import whose_turn
from search.seeds import derived_seed
from search.study_file import definition_from_plain
from search.study_record import StudyRecord

SHARED = ("staged_gp", "policy")


@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_each_member_has_a_turn_in_every_round(n_members: int) -> None:
    turns = [turn(position, n_members=n_members, seed=5) for position in range(12 * n_members)]
    for first in range(0, len(turns), n_members):
        assert sorted(turns[first : first + n_members]) == list(range(n_members))


def test_the_order_is_another_one_from_round_to_round_and_from_seed_to_seed() -> None:
    """Even and odd points of a Sobol sequence lie in different halves of a dimension: a member needs both."""
    orders = {seed: [turn(position, n_members=2, seed=seed) for position in range(400)] for seed in (0, 1)}
    parities = Counter(position % 2 for position, member in enumerate(orders[0]) if member == 0)
    assert min(parities.values()) > 70
    assert orders[0] != orders[1]


@pytest.mark.usefixtures("quiet_optuna")
def test_in_a_study_of_optunas_each_suggestion_is_that_of_the_one_whose_turn_it_is() -> None:
    known = optuna.create_study(sampler=RandomSampler(seed=0))
    known.optimize(loss, n_trials=16)
    turns = []
    for n_known in range(6, 14):
        asked = []
        for sampler in (MixedSampler(seed=0), StagedGPSampler(seed=0), PolicySampler(seed=0)):
            study = optuna.create_study(sampler=sampler)
            study.add_trials(known.trials[:n_known])
            asked.append(study.ask(SPACE).params)
        assert asked[1] != asked[2]
        turns.append(asked[1:].index(asked[0]))
    assert [sum(turns[first : first + 2]) for first in range(0, 8, 2)] == [1, 1, 1, 1]


def with_chance(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
    """The second objective follows from nothing, so that trials of all ranges are on the fronts."""
    return {**bell_curve(assignment, epoch), "val_loss": (assignment.seed % 97) / 97}


def narrowed(tmp_path: Path, sampler: str, *, seed: int) -> StudyRecord:
    study: dict[str, Any] = {
        **{key: value for key, value in BELL.items() if key != "objective"},
        "objectives": [
            {"monitor": "val_acc", "direction": "maximize"},
            {"monitor": "val_loss", "direction": "minimize"},
        ],
        "seed": seed,
        "narrow": "quantile_box",
        "stages": [
            {"name": "coarse", "n_trials": 48, "max_epochs": 3},
            {"name": "fine", "n_trials": 1, "max_epochs": 3, "sampler": sampler},
        ],
        "finish": "none",
    }
    engine = VirtualEngine(metrics=with_chance, measured=("train_loss", "val_acc", "val_loss"))
    return run_session(StateDirectory(root=tmp_path / f"{sampler}{seed}"), engine, definition_from_plain(study))


def test_whose_turn_it_is_is_asked_as_if_it_were_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In narrowed ranges with several objectives, too."""
    monkeypatch.setattr("search.coordinator.session.MlflowTracker", NoTracker)
    had = set()
    for seed in range(3, 7):
        records = {sampler: narrowed(tmp_path, sampler, seed=seed) for sampler in ("mixed", *SHARED)}
        box = records["mixed"].openings[1].narrowed.space
        assert not all(box.contains(each.record.hyperparameters) for each in records["mixed"].trials[:48])
        member = whose_turn("mixed", stage_seed=derived_seed(seed, "stage", 1), index_in_stage=0)
        last = {sampler: record.trials[48].record.hyperparameters for sampler, record in records.items()}
        assert last["mixed"] == last[member]
        assert last["staged_gp"] != last["policy"]
        had.add(member)
    assert had == set(SHARED)
