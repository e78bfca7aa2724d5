"""The benchmark of suggestions: each sampler has its row, compared with TPE's of the same run."""

from __future__ import annotations

import pytest
from suggestion_cost import main, suggestion_seconds


def test_every_sampler_is_compared_with_tpe_of_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--trials", "12", "--samplers", "staged_gp", "policy", "mixed", "--suggestions", "2"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 12")]
    assert [row[1] for row in rows] == ["tpe", "staged_gp", "policy", "mixed"]
    means, ratios = [float(row[3]) for row in rows], [float(row[5]) for row in rows]
    assert min(means) > 0.0
    assert ratios == pytest.approx([mean / means[0] for mean in means], rel=0.02)


def test_each_suggestion_has_its_time() -> None:
    seconds = suggestion_seconds("staged_gp", n_trials=11, n_suggestions=3, seed=1)
    assert len(seconds) == 3
    assert min(seconds) > 0.0
