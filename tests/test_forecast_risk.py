"""The benchmark that tells whether the forecast's risk is what it says."""

from __future__ import annotations

import pytest
from forecast_risk import main


@pytest.mark.slow
def test_the_table_counts_what_would_have_been_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instances", "0", "--budget", "20", "--noise", "0.01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 searches, ")
    few = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert few[0] == "up to 25"
    n_stopped, allowed, claimed = int(few[1]), float(few[2]), float(few[3])
    assert n_stopped > 0 and allowed == pytest.approx(0.1 * n_stopped, abs=0.051)
    assert 0.0 < claimed < allowed
    assert 0 <= int(few[4]) <= n_stopped
