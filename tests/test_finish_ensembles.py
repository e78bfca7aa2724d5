"""Which weights a study's finish keeps and averages, and what it says that this gained; on virtual workers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from few_images import N_CLASSES
from inner_engine import InnerEngine
from reported_studies import text_of
from study_runs import run_session
from test_coordinator import PLAIN
from virtual_engine import VirtualEngine, bell_curve

from search.budget import affordable_finish, allowances
from search.cli.best import best_plain, best_report
from search.cli.result_story import result_story
from search.errors import StudyDefinitionError
from search.forecast import Pace
from search.messages import TestAssignment, TestResult, TrialAssignment
from search.paths import StateDirectory
from search.record_codec import (
    result_from_plain,
    result_to_plain,
)
from search.record_codec import (
    test_result_from_plain as read_test_result,
)
from search.record_codec import (
    test_result_to_plain as plain_test_result,
)
from search.studies_api import read_study
from search.study_definition import Budget, Ensemble, FinishSettings, StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain
from search.study_record import Spent, StudyRecord, StudyResult
from search.tracking.study_rows import result_rows

pytestmark = pytest.mark.usefixtures("untracked")


def study(**finish: Any) -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 6, "max_epochs": 4, "sampler": "random"}]
    return definition_from_plain(
        {**PLAIN, "stages": stages, "pruner": "none", "finish": {"top_k": 3, "n_seeds": 2, **finish}}
    )


@dataclass
class Watched:
    """What workers are asked for by a study's finish."""

    sizes: int = 1
    left_out: tuple[dict[str, float], ...] = ()
    scores: tuple[tuple[float, float], ...] = ()
    refits: dict[str, TrialAssignment] = field(default_factory=dict)
    tests: list[TestAssignment] = field(default_factory=list)

    def metrics(self, assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        if assignment.merge_validation:
            self.refits[assignment.trial_key] = assignment
        rate = float(assignment.assembly.model_args["learning_rate"])
        peak = 1 + round(-10.0 * math.log10(rate)) % 3  # configurations differ in when they are best
        best = bell_curve(assignment, 2)["val_acc"]
        return {**bell_curve(assignment, epoch), "val_acc": best - abs(epoch - peak) / 9}

    def test(self, assignment: TestAssignment) -> TestResult:
        """Members are better and better; ensembles are 0.01 better than their best one, and a tenth worse in loss."""
        self.tests.append(assignment)
        n = len(assignment.trial_keys) * self.sizes
        scores = [{"test_acc": 0.9 + 0.001 * i**2, "test_loss": 0.5} for i in range(n)]
        best = [scores[(i + 1) * self.sizes - 1]["test_acc"] for i in range(len(assignment.trial_keys))]
        return TestResult(
            members=tuple(scores),
            ensemble={"test_acc": best[-1] + 0.01, "test_loss": 0.6},
            n_samples=10,
            notices=(),
            error="",
            traceback="",
            sizes=(self.sizes,) * len(assignment.trial_keys),
            scores=tuple(scores),
            ensembles=tuple({"test_acc": each + 0.01 + 0.001 * i, "test_loss": 0.6} for i, each in enumerate(best)),
            left_out=self.left_out,
        )


def run(
    definition: StudyDefinition, watched: Watched, directory: Path, **engine: Any
) -> tuple[StudyRecord, StudyResult]:
    workers = VirtualEngine(metrics=watched.metrics, test=watched.test, **engine)
    state = StateDirectory(root=directory)
    run_session(state, workers, definition)
    record = read_study(definition.study, directory=state)  # as the storage gives it back
    assert record.result is not None
    assert record.result.n_test_readings == len(watched.tests) == 1
    return record, record.result


def test_members_of_seeds_are_one_ensemble_and_nothing_is_known_of_its_spread(tmp_path: Path) -> None:
    watched = Watched()
    record, result = run(study(ensemble=True), watched, tmp_path)
    assert set(watched.refits) == {"refit-seed0", "refit-seed1"}
    assert not any(each.keeps_cycle_ends or each.keeps_last_epochs for each in watched.refits.values())
    assert (watched.tests[0].model_args, watched.tests[0].has_snapshots) == ((), False)
    gain = result.ensemble_gain["test_acc"]
    assert gain.by_seed == pytest.approx((0.01,))
    assert math.isnan(gain.low)
    assert gain.member_deviation == pytest.approx(0.001 / math.sqrt(2))
    assert result.ensemble_gain["test_loss"].mean == pytest.approx(-0.1)
    keys = {row.key: row.value for row in result_rows(record, result)}
    assert keys["ensemble_gain_acc"] == pytest.approx(0.01)
    assert keys["ensemble_gain_loss"] == pytest.approx(-0.1)
    assert "ensemble_gain_acc_low" not in keys


def test_the_gain_without_one_of_three_members_is_told(tmp_path: Path) -> None:
    left_out = tuple({"test_acc": each, "test_loss": 0.6} for each in (0.91, 0.906, 0.901))  # of 0.9, 0.901 and 0.904
    record, result = run(study(ensemble=True, n_seeds=3), Watched(left_out=left_out), tmp_path)
    gain = result.ensemble_gain["test_acc"]
    assert gain.by_left_out == pytest.approx((0.006, 0.002, 0.0))
    assert "without one of its members, each in turn, the gain is +0.0000 to +0.0060." in gain.in_words("test_acc")
    keys = {row.key: row.value for row in result_rows(record, result)}
    assert keys["ensemble_gain_acc_left_out_min"] == pytest.approx(0.0)
    assert keys["ensemble_gain_acc_left_out_max"] == pytest.approx(0.006)


def test_each_confirmed_configuration_is_refitted_for_the_epochs_of_its_own(tmp_path: Path) -> None:
    watched = Watched()
    record, result = run(study(ensemble="top_k"), watched, tmp_path)
    numbers = [each.trial_number for each in result.confirmations]
    assert len(numbers) == 3
    assert [int(key.removeprefix("refit-")) for key in result.refit_keys] == numbers
    assert numbers[0] == result.best_trial_number
    trials = {trial.record.number: trial.record for trial in record.trials}
    rates = [trials[number].hyperparameters["model.learning_rate"] for number in numbers]
    refits = [watched.refits[key] for key in result.refit_keys]
    assert [each.assembly.model_args["learning_rate"] for each in refits] == rates
    assert [each["learning_rate"] for each in watched.tests[0].model_args] == rates
    best = {each.trial_number: max(each.best_epochs) for each in result.confirmations}
    assert [each.n_epochs for each in refits] == [best[number] for number in numbers]
    assert len({each.n_epochs for each in refits}) > 1
    assert len({each.seed for each in refits}) == 3
    assert len(result.ensemble_gain["test_acc"].by_seed) == 1


@pytest.mark.parametrize(
    ("finish", "kept"),
    [({"ensemble": "snapshots"}, (True, 0)), ({"ensemble": "last_n", "last_n": 3}, (False, 3))],
)
def test_where_refits_keep_several_weights_the_gain_is_told_with_its_spread(
    finish: dict[str, Any], kept: tuple[bool, int], tmp_path: Path
) -> None:
    watched = Watched(sizes=3)
    record, result = run(study(**finish), watched, tmp_path, n_lr_cycles=3)
    assert {(each.keeps_cycle_ends, each.keeps_last_epochs) for each in watched.refits.values()} == {kept}
    assert watched.tests[0].has_snapshots
    assert len(result.test_members) == 6
    gain = result.ensemble_gain["test_acc"]
    assert gain.by_seed == pytest.approx((0.01, 0.011))
    assert gain.mean == pytest.approx(0.0105)
    assert gain.low < gain.mean < gain.high
    keys = {row.key: row.value for row in result_rows(record, result)}
    assert keys["ensemble_gain_acc_low"] == gain.low
    assert keys["ensemble_gain_acc_high"] == gain.high
    assert result.notices == ()


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ({"ensemble": "snapshots"}, "its members are the 2 refits: no refit has snapshots"),
        ({"ensemble": "last_n", "last_n": 3}, "a refit trained for 1 epoch only"),
        ({"ensemble": "top_k", "top_k": 1}, "it has a single member: a single configuration was refitted"),
    ],
)
def test_what_could_not_be_kept_is_told(finish: dict[str, Any], told: str, tmp_path: Path) -> None:
    _, result = run(study(**finish), Watched(sizes=1), tmp_path, n_lr_cycles=3)
    assert told in " ".join(result.notices)


def test_without_an_ensemble_no_gain_is_told(tmp_path: Path) -> None:
    watched = Watched()
    run_session(StateDirectory(root=tmp_path), VirtualEngine(metrics=watched.metrics, test=watched.test), study())
    assert not watched.tests[0].ensemble


def test_infinite_losses_give_no_gain_and_that_is_told(tmp_path: Path) -> None:
    watched = Watched()

    def test(assignment: TestAssignment) -> TestResult:
        usual = plain_test_result(watched.test(assignment))
        return read_test_result({**usual, "ensemble": {"test_acc": 0.5, "test_loss": math.inf}})

    record = run_session(
        StateDirectory(root=tmp_path), VirtualEngine(metrics=watched.metrics, test=test), study(ensemble=True)
    )
    assert record.result is not None
    assert set(record.result.ensemble_gain) == {"test_acc"}
    assert "no gain of the ensemble in test_loss" in " ".join(record.result.notices)


@pytest.mark.parametrize(
    ("n_cycles", "told"), [(None, "no method `learning_rate_cycle_ends"), (0, "lr_schedule: cyclic")]
)
def test_snapshots_of_what_can_have_no_cycles_are_refused_at_the_start(
    n_cycles: int | None, told: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyDefinitionError, match=told) as caught:
        run_session(StateDirectory(root=tmp_path), VirtualEngine(n_lr_cycles=n_cycles), study(ensemble="snapshots"))
    assert caught.value.key == "finish.ensemble"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"finish": {"ensemble": "last_n"}}, "finish.ensemble", "needs the number of epochs"),
        ({"finish": {"ensemble": "seeds", "last_n": 2}}, "finish.last_n", "belongs to `ensemble: last_n`"),
        ({"finish": {"ensemble": "last_n", "last_n": 0}}, "finish.last_n", "an integer from 1"),
        ({"finish": {"ensemble": "snapshot"}}, "finish.ensemble", "Did you mean 'snapshots'?"),
        (
            {"finish": {"ensemble": "top_k"}, "space": {"data.scheme": {"choice": ["a", "b"]}}},
            "finish.ensemble",
            "data.scheme",
        ),
        (
            {"finish": {"ensemble": "snapshots"}, "space": {"model.lr_schedule": {"choice": ["cosine", "step"]}}},
            "finish.ensemble",
            "put cyclic among them",
        ),
    ],
)  # fmt: skip
def test_finishes_that_cannot_be_are_named(changes: dict[str, Any], key: str, told: str) -> None:
    finish = {"top_k": 2, "n_seeds": 2, **changes["finish"]}
    with pytest.raises(StudyDefinitionError) as caught:
        definition_from_plain({**PLAIN, **changes, "finish": finish, "data": {"class_path": "package.Data"}})
    assert caught.value.key == key
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kind", "stored"),
    [
        (True, Ensemble.SEEDS, True),
        (False, Ensemble.NONE, False),
        ("seeds", Ensemble.SEEDS, True),
        ("none", Ensemble.NONE, False),
        ("top_k", Ensemble.TOP_K, "top_k"),
        ("snapshots", Ensemble.SNAPSHOTS, "snapshots"),
    ],
)
def test_studies_are_stored_as_before_where_they_mean_the_same(given: Any, kind: Ensemble, stored: Any) -> None:
    definition = study(ensemble=given)
    assert definition.finish is not None
    assert definition.finish.ensemble is kind
    plain = definition_to_plain(definition)
    assert plain["finish"]["ensemble"] is stored or plain["finish"]["ensemble"] == stored
    assert definition_from_plain(json.loads(json.dumps(plain))) == definition


def test_results_of_former_versions_are_read(tmp_path: Path) -> None:
    _, result = run(study(ensemble=True), Watched(), tmp_path)
    plain = json.loads(json.dumps(result_to_plain(result)))
    assert repr(result_from_plain(plain)) == repr(result)  # NaN is like NaN here
    del plain["ensemble_gain"]
    assert result_from_plain(plain).ensemble_gain == {}
    former = {"members": [], "notices": [], "ensemble": {}, "n_samples": 0, "error": "", "traceback": ""}
    assert read_test_result(former).sizes == ()


def test_a_budget_that_is_short_refits_fewer_configurations() -> None:
    settings = FinishSettings(top_k=4, n_seeds=2, ensemble=Ensemble.TOP_K)
    pace = Pace(seconds_per_epoch=1.0, seconds_per_run=0.0, n_workers=1, devices_per_worker=1.0)

    def plan(seconds: float) -> tuple[int, int, int]:
        bounds = allowances(
            Budget(hours=seconds / 3600), spent=Spent(), n_epochs=0, finish=settings, max_epochs=1, pace=pace
        )
        found = affordable_finish(settings, bounds, n_contenders=4, max_epochs=1, pace=pace)
        return found.top_k, found.n_seeds, found.n_refits

    assert [plan(each) for each in (12, 11, 7, 3)] == [(4, 2, 4), (4, 1, 4), (3, 1, 3), (0, 0, 1)]


@pytest.mark.slow
def test_a_real_study_keeps_snapshots_behind_a_url_and_tells_what_they_gain(tmp_path: Path) -> None:
    definition = definition_from_plain(
        {
            "study": "snapshots",
            "seed": 0,
            "model": {
                "class_path": "lightning_modules.ConvNet",
                "init_args": {"in_channels": 1, "n_classes": N_CLASSES, "widths": [4], "lr_cycles": 2},
            },
            "data": {"class_path": "few_images.FewImages"},
            "objective": {"monitor": "val_acc", "direction": "maximize"},
            "space": {"model.lr_schedule": {"choice": ["cyclic"]}, "model.learning_rate": {"log": [1e-5, 1e-4]}},
            "stages": [{"name": "only", "n_trials": 2, "max_epochs": 4, "sampler": "random"}],
            "pruner": "none",
            "finish": {"top_k": 1, "n_seeds": 2, "ensemble": "last_n", "last_n": 2},
            "checkpoints": str(tmp_path / "store"),
        }
    )
    cycles = replace(definition, finish=FinishSettings(top_k=1, n_seeds=2, ensemble=Ensemble.SNAPSHOTS))
    for study, n_members in ((definition, 4), (replace(cycles, study="cycles"), 4)):
        state = StateDirectory(root=tmp_path / "state")
        record = run_session(state, InnerEngine(), study)
        result = record.result
        assert result is not None
        assert (result.n_test_readings, len(result.test_members), result.is_packaged) == (1, n_members, True)
        assert {len(gain.by_seed) for gain in result.ensemble_gain.values()} == {2}
        plain = best_plain(record)
        assert plain is not None
        assert plain["ensemble_gain"]["test_acc"]["by_seed"] == list(result.ensemble_gain["test_acc"].by_seed)
        for part in (best_report(record, width=200), result_story(record, width=200)):
            text = text_of(part, width=400)
            assert "4 members of 2 refits; each refit is compared as an ensemble of its own" in text
            assert result.ensemble_gain["test_loss"].in_words("test_loss") in text
    assert len(list((tmp_path / "store").rglob("snapshots.pt"))) == 4
