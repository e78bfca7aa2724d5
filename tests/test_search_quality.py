"""The benchmark of search quality on a formula: what is counted, what is compared, what is kept."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asked_method import Job, Workers
from epoch_meter import BudgetSpentError, EpochMeter
from quality_methods import PEERS, SAMPLERS, run_method
from quality_report import report
from quality_runs import Conditions, Run, Setting, make_run
from quality_surface import Point, checkpoints, draw_seed, random_point
from recorded_runs import read_runs
from search_quality import main
from synthetic_surface import SyntheticSurface
from zeroin_method import MeteredTrainings, study_definition, variant

from search.messages import ModelAssembly, TrialAssignment

N_EPOCHS, BUDGET = 12, 130
CONDITIONS = Conditions(
    surface="synthetic", noise=0.0, n_epochs=N_EPOCHS, budget_epochs=BUDGET, n_workers=1, from_scratch=False
)
SMOKE = ["--surface", "synthetic", "--epochs", str(N_EPOCHS), "--budget", str(BUDGET), "--seeds", "1"]
FIRST = {"learning_rate": 1e-3, "weight_decay": 1e-4, "dropout": 0.2, "width": 64, "depth": 3}
SECOND = {**FIRST, "depth": 4}


def meter(*, budget_epochs: int = BUDGET, from_scratch: bool = False, noise: float = 0.0) -> EpochMeter:
    surface = SyntheticSurface("0", noise=noise, n_epochs=N_EPOCHS)
    return EpochMeter(surface=surface, budget_epochs=budget_epochs, from_scratch=from_scratch)


class Script:
    """Asks for the given trainings in order and keeps what it hears; stops those that `stops` says."""

    def __init__(self, jobs: Sequence[Job], *, stops: Sequence[tuple[Point, int]] = ()) -> None:
        self._jobs = list(jobs)
        self._stops = stops
        self.heard: list[tuple[Point, int]] = []
        self.told: list[tuple[Point, int, float]] = []

    def ask(self) -> Job | None:
        return self._jobs.pop(0) if self._jobs else None

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        self.heard.append((job.point, epoch))
        return (job.point, epoch) not in self._stops

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        self.told.append((job.point, n_epochs, best))


@pytest.mark.parametrize(("from_scratch", "second_epochs"), [(False, [1, 2]), (True, [])])
def test_a_continued_training_pays_the_difference_or_everything_again(
    from_scratch: bool, second_epochs: list[int]
) -> None:
    jobs = [Job(point=FIRST, n_epochs=2, continues="a"), Job(point=FIRST, n_epochs=5, continues="a")]
    script = Script([*jobs, Job(point=SECOND, n_epochs=9)])
    account = meter(budget_epochs=7, from_scratch=from_scratch)
    Workers(script, account, n_workers=1, seed=0).run()
    assert script.heard == [(FIRST, epoch) for epoch in range(1, 6)] + [(SECOND, epoch) for epoch in second_epochs]
    assert account.n_spent == 7
    best = max(account.surface.curve(FIRST)[:5])
    assert script.told == [(FIRST, 2, max(account.surface.curve(FIRST)[:2])), (FIRST, 5, best)]


def test_a_stopped_training_costs_what_it_had_and_is_told_so() -> None:
    script = Script([Job(point=FIRST, n_epochs=8), Job(point=SECOND, n_epochs=3)], stops=[(FIRST, 4)])
    account = meter(budget_epochs=100)
    with pytest.raises(RuntimeError, match="asks for no training"):
        Workers(script, account, n_workers=1, seed=0).run()
    assert account.n_spent == 4 + 3
    assert [told[1] for told in script.told] == [4, 3]


def test_a_trial_of_zeroin_that_is_continued_pays_the_same() -> None:
    assembly = ModelAssembly(
        model_class="", model_args=FIRST, data_class=None, data_args={}, trainer_args={}, monitor="val_acc",
        maximize=True, data_seed=0,
    )  # fmt: skip
    assignment = TrialAssignment(
        trial_key="0", assembly=assembly, directory="", seed=0, n_epochs=4, horizon_epochs=N_EPOCHS, resume=True,
        n_epochs_reported=2, merge_validation=False,
    )  # fmt: skip
    for from_scratch, n_spent in ((False, 2), (True, 4)):
        account = meter(from_scratch=from_scratch)
        trained = MeteredTrainings(account)
        shown = [trained(assignment, epoch)["val_acc"] for epoch in (3, 4)]
        assert shown == account.surface.curve(FIRST)[2:4]
        assert account.n_spent == n_spent


@pytest.mark.parametrize("method", ["random", "random-asha", pytest.param("zeroin", marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_workers", [1, 4])
def test_a_method_spends_its_budget_exactly_and_its_regret_never_grows(method: str, n_workers: int) -> None:
    account = meter()
    suggestions = run_method(method, account, n_workers=n_workers, seed=5)
    assert account.n_spent == BUDGET
    assert BUDGET / N_EPOCHS < suggestions.n <= BUDGET + n_workers
    spent, regrets = zip(*account.improvements, strict=True)
    assert spent[0] == 1
    assert list(spent) == sorted(set(spent))
    assert list(regrets) == sorted(set(regrets), reverse=True)
    assert account.regret_after(BUDGET) == regrets[-1] < regrets[0]
    with pytest.raises(BudgetSpentError):
        account.train(FIRST, 1)


@pytest.mark.parametrize(
    ("method", "n_workers"),
    [("random", 1), ("tpe-median", 4), ("tpe-hyperband", 1), pytest.param("zeroin", 4, marks=pytest.mark.slow)],
)
def test_equal_seeds_give_equal_runs_and_others_do_not(method: str, n_workers: int) -> None:
    setting = Setting(conditions=replace(CONDITIONS, n_workers=n_workers), method=method, instance="0", seed=3)
    first, again = (make_run(setting, data=None) for _ in range(2))
    assert (first.improvements, first.n_suggestions) == (again.improvements, again.n_suggestions)
    assert make_run(replace(setting, seed=4), data=None).improvements != first.improvements


@pytest.mark.parametrize(
    ("name", "sampler", "narrows", "pruner"),
    [
        ("zeroin", "mixed", True, "forecast"),
        ("zeroin-no-narrowing", "mixed", False, "forecast"),
        ("zeroin-no-pruning", "mixed", True, "none"),
        ("zeroin-median", "mixed", True, "median"),
        ("zeroin-portfolio", "portfolio", True, "forecast"),
        ("zeroin-tpe-no-pruning", "tpe", True, "none"),
        ("zeroin-policy-no-narrowing", "policy", False, "forecast"),
    ],
)
def test_a_name_says_what_is_left_out_or_swapped(name: str, sampler: str, narrows: bool, pruner: str) -> None:
    surface = SyntheticSurface("0", n_epochs=N_EPOCHS)
    study = study_definition(variant(name), surface, budget_epochs=BUDGET, seed=0)
    assert [(stage.n_trials, stage.max_epochs, stage.sampler) for stage in study.stages] == [
        (8, 3, "qmc"),
        (8, N_EPOCHS, sampler),
        (BUDGET, N_EPOCHS, sampler),
    ]
    assert {stage.narrow.rule for stage in study.stages} == {"posterior" if narrows else "none"}
    assert study.pruner.name == pruner


def test_methods_of_documented_commands_exist() -> None:
    page = (Path(__file__).parents[1] / "docs" / "search_quality.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^python benchmarks/search_quality.*? --methods((?: +(?!-)\S+)+)", page, re.MULTILINE)
    names = {name for command in commands for name in command.split()}
    assert len(names) > 10
    for name in names - PEERS.keys() - SAMPLERS.keys():
        variant(name)


def test_every_pair_of_instance_and_seed_has_a_draw_of_its_own() -> None:
    assert len({draw_seed(str(instance), seed) for instance in range(30) for seed in range(30)}) == 900


def test_regret_is_zero_at_the_optimum_and_one_at_the_median_of_random_trainings() -> None:
    surface = SyntheticSurface("4")
    rng = np.random.default_rng(0)
    finals = [surface.curve(random_point(surface.ranges, rng))[-1] for _ in range(2000)]
    regrets = [surface.normalized_regret(final) for final in finals]
    assert surface.normalized_regret(surface.curve(surface.optimum)[-1]) == pytest.approx(0.0, abs=1e-12)
    assert min(regrets) > 0.0
    assert statistics.median(regrets) == pytest.approx(1.0, abs=0.05)


def test_the_incumbent_is_chosen_by_what_is_seen_and_judged_by_what_is_true() -> None:
    account = meter(noise=0.2)
    assert account.surface.curve(FIRST) == account.surface.curve(FIRST) != account.surface.true_curve(FIRST)
    shown = {epoch: account.train(FIRST, epoch) for epoch in range(1, N_EPOCHS + 1)}
    chosen = max(shown, key=lambda epoch: shown[epoch])
    truth = account.surface.normalized_regret(account.surface.true_curve(FIRST)[chosen - 1])
    assert account.regret_after(N_EPOCHS) == truth


@pytest.mark.slow
def test_runs_are_resumed_and_files_of_them_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part, other = (tmp_path / name for name in ("whole.jsonl", "part.jsonl", "other.jsonl"))
    wanted = [*SMOKE, "--instances", "0"]
    assert main([*wanted, "--methods", "random", "random-asha", "--output", str(part)]) == 0
    kept = part.read_text()
    assert main([*wanted, "--methods", "zeroin", "--output", str(other)]) == 0
    assert main([*wanted, "--methods", "random", "random-asha", "zeroin", "--output", str(part)]) == 0
    assert part.read_text().startswith(kept)
    assert len(read_runs(Run, [part])) == 3 == len(part.read_text().splitlines())
    whole.write_text(kept + other.read_text())
    same = {run.setting: run.improvements for run in read_runs(Run, [whole])}
    assert {run.setting: run.improvements for run in read_runs(Run, [part])} == same
    capsys.readouterr()
    assert main(["--table", str(whole), str(other)]) == 0
    table = capsys.readouterr().out
    assert all(f"| {method} | 1 |" in table for method in ("random", "random-asha", "zeroin"))


def test_the_tables_hold_means_ranks_tests_and_the_ratio_to_the_best_peer() -> None:
    regrets = {"zeroin": (0.1, 0.2), "zeroin-gp": (0.05, 0.05), "random": (0.2, 0.6), "tpe": (0.6, 0.4)}
    runs = [
        Run(
            setting=Setting(conditions=CONDITIONS, method=method, instance=str(index), seed=0),
            improvements=((1, 0.9), (BUDGET, regret)),
            n_suggestions=10,
            suggestion_ms=2.0,
            version="1",
        )
        for method, values in regrets.items()
        for index, regret in enumerate(values)
    ]
    table = report(runs)
    assert checkpoints(N_EPOCHS, budget_epochs=BUDGET) == [120, 130]
    assert "| zeroin | 2 | 90.0 (2.5) | 15.0 (2.0) | 2 |" in table
    assert "| random | 2 | 90.0 (2.5) | 40.0 (3.5) | 2 |" in table
    assert "| tpe | 2 | 90.0 : 90.0, p = 1 | 15.0 : 50.0, p = 0.5 |" in table
    assert "| *ratio to the best peer* | 2 | 1.00 | 0.38 |" in table


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--methods", "tqe"], "zeroin-median, zeroin-promote, zeroin-SAMPLER or one of random"),
        (["--methods", "zeroin-tqe"], "a sampler in 'zeroin-tqe' must be one of random"),
        (["--surface", "lcbench", "--methods", "random"], "--data DIR"),
        (["--surface", "lcbench", "--methods", "random", "--data", "nowhere"], "encoding.json cannot be read"),
        (["--table", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
    ],
)
def test_bad_requests_say_what_was_expected(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMOKE, *arguments]) == 2
    assert expected in capsys.readouterr().err
