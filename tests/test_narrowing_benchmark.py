"""The benchmark of narrowing on a formula: what is compared, what is counted, what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrowing import main
from narrowing_report import report
from narrowing_runs import Conditions, Search, Setting, make_search
from oracle_ranges import oracle_ranges
from quality_surface import random_point
from ranged_surface import REGIMES, ranged_surface
from recorded_runs import read_runs
from surface_trials import declared_space
from table_cells import half_width

from search.sampling import propose
from search.search_space import Choices, Hyperparameters

CONDITIONS = Conditions(regime="wide", noise=0.0, plan="short", n_epochs=4, budget_epochs=120, sampler="tpe")
SETTING = Setting(conditions=CONDITIONS, rule="none", outside_share=0.0, instance="0", seed=0)


@pytest.mark.parametrize("regime", REGIMES)
def test_the_declared_ranges_hold_the_optimum_and_set_the_scale_of_regret(regime: str) -> None:
    for instance in map(str, range(5)):
        surface = ranged_surface(regime, instance, noise=0.0, n_epochs=4)
        space = declared_space(surface)
        assert space.contains(surface.optimum)
        assert surface.normalized_regret(surface.true_curve(surface.optimum)[-1]) == pytest.approx(0.0, abs=1e-12)
        rng = np.random.default_rng(0)
        regrets = [
            surface.normalized_regret(surface.true_curve(random_point(surface.ranges, rng))[-1]) for _ in range(801)
        ]
        assert np.median(regrets) == pytest.approx(1.0, abs=0.15)
        where = space["learning_rate"].to_unit(surface.optimum["learning_rate"])
        assert (0.2 < where < 0.8) != (regime == "off_centre") or regime == "wide"


@pytest.mark.slow
def test_a_search_spends_its_plan_and_knows_whether_the_optimum_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def heard(**options: Any) -> Hyperparameters:
        asked.append((options["sampler"], len(options["observations"])))
        return propose(**options)

    monkeypatch.setattr("narrowing_runs.propose", heard)
    search = make_search(SETTING, data=None)
    assert asked == [("qmc", 0)] * 48 + [("tpe", n_before) for n_before in range(48, 48 + 24 + 12)]
    assert search == make_search(SETTING, data=None)
    assert search.improvements[-1][0] <= 48 + 24 + 12 * 4
    assert search.is_cut_off == (False, False, False)
    assert search.width == 1.0
    narrowed = make_search(replace(SETTING, rule="quantile_box"), data=None)
    assert len(narrowed.is_cut_off) == 3
    assert narrowed.width < 1.0
    assert narrowed.improvements[:1] == search.improvements[:1], "the first stage is the same"


def made(instance: int, rule: str, regret: float, cut_off: tuple[bool, ...] = (False, False)) -> Search:
    setting = replace(SETTING, rule=rule, instance=str(instance))
    return Search(setting=setting, improvements=((1, 2.0), (9, regret)), is_cut_off=cut_off, width=0.5)


def test_the_table_pairs_instances_and_counts_what_was_cut_off_and_undone() -> None:
    gains = [0.1, 0.3, 0.2, 0.4]
    searches = [made(index, "none", 0.5) for index in range(4)]
    searches += [made(index, "quantile_box", 0.5 - gain, (index > 0, index > 1)) for index, gain in enumerate(gains)]
    half = half_width(100.0 * np.array(gains))
    assert half == pytest.approx(3.182 * 100.0 * np.std(gains, ddof=1) / 2.0, rel=1e-3)
    table, summary = report(searches).split("\n\n**Regret without")
    lines = table.splitlines()
    assert summary.splitlines()[-1] == f"| wide, noise 0, short plan, tpe | 50.0 | 25.0 ± {half:.1f} |"
    assert lines[-1] == f"| quantile_box | 0 | 4 | 25.0 | 25.0 ± {half:.1f} | 0.12 | 50% | 75% | 33% | 0.50 |"
    assert lines[-2].startswith("| none | 0 | 4 | 50.0 |  |  | 0% | 0% |  |")


@pytest.mark.slow
def test_the_command_compares_the_rules_and_makes_no_search_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.jsonl"
    arguments = ["--regimes", "tight", "--plans", "short", "--epochs", "4", "--noise", "0.02", "--outside", "0.2"]
    arguments += ["--instances", "0", "--output", str(file)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert len(read_runs(Search, [file])) == len(file.read_text().splitlines()) == 4
    for rule in ("none | 0 |", "quantile_box | 0.2 |", "posterior | 0.2 |", "trust_region | 0.2 |"):
        assert f"| {rule} 1 |" in shown
    assert main([*arguments, "--rules", "none"]) == 0
    assert len(file.read_text().splitlines()) == 4
    assert main(["--table", str(file)]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rules", "box"], "a rule must be one of quantile_box, posterior, trust_region, none"),
        (["--rules", "quantile_box:0.8"], "but got 'quantile_box:0.8'"),
        (["--regimes", "lcbench"], "name their directory, --data DIR"),
        (["--table", "missing.jsonl"], "missing.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("regime", REGIMES)
def test_the_oracles_ranges_hold_the_optimum_and_are_as_wide_as_asked(regime: str) -> None:
    places = []
    for instance in map(str, range(8)):
        surface = ranged_surface(regime, instance, noise=0.0, n_epochs=4)
        space = declared_space(surface)
        ranges = oracle_ranges(space, surface.optimum, share=0.5, instance=instance)
        assert ranges.contains(surface.optimum)
        for declared, drawn in zip(space, ranges, strict=True):
            assert not isinstance(declared.range, Choices)
            assert not isinstance(drawn.range, Choices)
            assert declared.range.low <= drawn.range.low < drawn.range.high <= declared.range.high
            width = declared.range.scale(declared.range.high) - declared.range.scale(declared.range.low)
            share = (drawn.range.scale(drawn.range.high) - drawn.range.scale(drawn.range.low)) / width
            assert share == pytest.approx(0.5) or declared.is_integer
        places.append(ranges["learning_rate"].to_unit(surface.optimum["learning_rate"]))
    assert np.std(places) > 0.1, "where in the ranges it lies tells nothing"


def test_the_oracle_narrows_when_the_rules_may() -> None:
    starter = replace(CONDITIONS, plan="starter", n_epochs=4, budget_epochs=80)
    searches = [make_search(replace(SETTING, conditions=starter, rule=rule), data=None) for rule in ("none", "oracle")]
    known, drawn = (search.improvements for search in searches)
    assert [each for each in drawn if each[0] <= 8 + 8 * 4] == [each for each in known if each[0] <= 8 + 8 * 4]
    assert searches[1].width == pytest.approx(0.5, abs=0.1)
    assert searches[1].is_cut_off == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--regimes", "wide", "--rules", "oracle:2"], "share of oracle:SHARE must be in (0, 1], but got 'oracle:2'"),
        (
            ["--regimes", "lcbench", "--rules", "oracle"],
            "'oracle' must know the optimum, but nobody knows that of LCBench",
        ),
    ],
)
def test_an_oracle_that_cannot_be_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--instances", "1"]) == 2
    assert expected in capsys.readouterr().err
