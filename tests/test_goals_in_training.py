"""Several objectives and constraints in a study that really trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.cli.main import exit_code_of
from search.paths import StateDirectory
from search.studies_api import read_study

pytestmark = pytest.mark.slow

STUDY = """\
study: small-nets
seed: 0
model: {class_path: lightning_modules.ConvNet, init_args: {in_channels: 1, n_classes: 10, widths: [4]}}
data: {class_path: lightning_modules.DigitsDataModule, init_args: {batch_size: 128}}
objectives:
  - {monitor: val_acc, direction: maximize}
  - {monitor: n_parameters, direction: minimize}
constraints:
  n_parameters: {at_most: 1300}
  epoch_seconds: {at_most: 3600}
space:
  model.hidden_width: {int: [1, 64]}
stages:
  - {name: coarse, n_trials: 6, max_epochs: 2}
"""


@pytest.mark.usefixtures("forked_workers")
def test_networks_are_found_that_are_good_and_small(
    tmp_path: Path, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROIN_HOME", str(state.root))
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(STUDY)
    assert exit_code_of(["run", "small.yaml", "--devices", "cpu:1", "--plain"]) == 0
    record = read_study("small-nets", directory=state)
    sizes = {}
    for trial in record.trials:
        assert trial.score is not None
        width = int(trial.record.hyperparameters["model.hidden_width"])
        n_parameters = trial.score.measured["n_parameters"]
        sizes[width] = n_parameters
        assert trial.record.curve("n_parameters") == (n_parameters,) * 2
        assert 0.0 < trial.score.measured["epoch_seconds"] < 3600.0
        assert (trial.score.violation > 0.0) == (n_parameters > 1300)
    assert [sizes[width] for width in sorted(sizes)] == sorted(sizes.values())  # a wider net is larger
    assert len(set(sizes.values())) == len(sizes)
    assert exit_code_of(["best", "small-nets", "--format", "json", "--output", "best.json"]) == 0
    front = json.loads(Path("best.json").read_text())["front"]
    values = [(each["values"]["val_acc"], each["values"]["n_parameters"]) for each in front]
    assert all(size <= 1300 for _, size in values)
    assert values == sorted(values, reverse=True)  # what is smaller is not as good
    assert min(sizes.values()) == values[-1][1]
