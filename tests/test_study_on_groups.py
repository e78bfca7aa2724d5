"""A whole study whose trials run on two processes each: the same trials and decisions as on one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from study_runs import Listener

from search import definition_from_plain, run_study
from search.paths import StateDirectory
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def run(directory: Path, *, n_processes: int, devices: str, listener: Listener) -> StudyRecord:
    model_args = {"in_channels": 1, "n_classes": 10, "norm": "none", "dropout": 0.0, "widths": [8, 16]}
    definition = definition_from_plain(
        {
            "study": "groups",
            "seed": 0,
            "model": {"class_path": "lightning_modules.ConvNet", "init_args": model_args},
            "data": {
                "class_path": "lightning_modules.DigitsDataModule",
                "init_args": {"batch_size": 64 // n_processes},
            },
            "objective": {"monitor": "val_loss", "direction": "minimize"},
            "space": {"model.learning_rate": {"log": [1e-4, 1.0]}, "model.momentum": {"linear": [0.0, 0.9]}},
            "stages": [
                {"name": "coarse", "n_trials": 8, "max_epochs": 2, "sampler": "qmc"},
                {"name": "fine", "n_trials": 3, "max_epochs": 4, "sampler": "tpe"},
            ],
            "pruner": "median",
            "resources": {"devices_per_trial": n_processes},
        }
    )
    return run_study(definition, directory=StateDirectory(root=directory), devices=devices, observer=listener)


@pytest.mark.usefixtures("forked_workers")
def test_a_study_on_groups_has_the_trials_and_decisions_of_one_on_single_processes(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    listener = Listener()
    records = []
    for n_processes, devices in ((1, "cpu:1"), (2, "cpu:3")):
        directory = tmp_path / f"by{n_processes}"
        copied_mlflow_database(directory / "mlflow.db")
        records.append(run(directory, n_processes=n_processes, devices=devices, listener=listener))
    alone, together = records
    assert listener.notices == ["CPU slot 2 will stay unused: a trial takes 2 devices (devices_per_trial)."]
    assert len(together.trials) == 11
    for one, two in zip(alone.trials, together.trials, strict=True):
        assert two.record.hyperparameters == one.record.hyperparameters
        assert two.record.state is one.record.state
        assert len(two.record.epochs) == len(one.record.epochs)
        assert two.record.curve("val_loss") == pytest.approx(one.record.curve("val_loss"), rel=1e-3)
    assert alone.result is not None
    assert together.result is not None
    assert together.result.best_trial_number == alone.result.best_trial_number
