"""The benchmark of warm starts: every variant runs, and its table says what it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from past_variants import BASELINE, VARIANTS, told
from plain_study import BELL
from synthetic_surface import SyntheticSurface
from warm_start import Conditions, main, regrets, table

from search.study_file import definition_from_plain

CONDITIONS = Conditions(sampler="tpe", noise=0.01, n_past=12, budgets=(30, 60))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_told_is_a_valid_study(variant: str, tmp_path: Path) -> None:
    space = {f"model.{each.name}": {each.kind: [each.low, each.high]} for each in SyntheticSurface.ranges}
    plain = {**BELL, "space": space, "stages": [{"name": "only", "n_trials": 8, "max_epochs": 1}]}
    with_it = told(variant, plain, instance="3", noise=0.01, n_past=12, directory=tmp_path)
    assert (definition_from_plain(with_it) == definition_from_plain(plain)) is (variant == BASELINE)


def test_the_table_tells_gains_in_pairs() -> None:
    baseline = np.array([[50.0, 20.0], [30.0, 10.0], [40.0, 15.0]])
    lines = table({BASELINE: baseline, "list: good": baseline - 5.0}, CONDITIONS).splitlines()
    assert lines[2] == f"| {BASELINE} | 40.0 |  | 15.0 |  |"
    assert lines[3].startswith("| list: good | 35.0 | +5.0 ± 0.0, p = 0.25 | 10.0 | +5.0 ± 0.0")
    assert {line.count("|") for line in lines} == {6}


@pytest.mark.slow
def test_the_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--seeds",
        "2",
        "--budgets",
        "40",
        "110",
        "--past",
        "20",
        "--variants",
        "past: same task",
        "prior: wrong",
    ]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| nothing", "| past: same task", "| prior: wrong"]


@pytest.mark.slow
def test_what_misleads_costs_no_more_than_noise_and_what_is_right_helps() -> None:
    conditions = Conditions(sampler="mixed", noise=0.01, n_past=60, budgets=(260,))
    found = {
        name: np.array([regrets(conditions, name, seed)[0] for seed in range(12)])
        for name in (BASELINE, "past: inverted", "priors: all wrong", "priors: all right")
    }

    def gain_in_errors(name: str) -> float:
        gains = found[BASELINE] - found[name]
        return float(gains.mean() / (gains.std(ddof=1) / np.sqrt(len(gains))))

    assert gain_in_errors("past: inverted") > -2.0
    assert gain_in_errors("priors: all wrong") > -2.0
    assert gain_in_errors("priors: all right") > 2.0
