"""A module as Lightning's documentation writes it, in a package that knows nothing of zeroin, is searched as it is."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import pytorch_lightning as pl
from command_line import CommandLine
from forked_workers import WorkerTemplate

from lightning_modules.callbacks.epoch_seeding import EpochSeeding, seed_all
from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState

pytestmark = pytest.mark.slow

MODEL = """
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import Accuracy


class LitClassifier(pl.LightningModule):
    def __init__(self, hidden_dim=16, lr=1e-3, drop=0.2):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(drop),
            nn.Linear(4 * 6 * 6, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 3),
        )
        self.train_acc = Accuracy(task="multiclass", num_classes=3)
        self.val_acc = Accuracy(task="multiclass", num_classes=3)

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.log("train_loss", loss)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_acc(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}
"""

DATA = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split


class StripesDataModule(pl.LightningDataModule):
    def __init__(self, batch_size=32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        y = torch.randint(3, (300,), generator=generator)
        x = 1.5 * torch.randn(300, 1, 8, 8, generator=generator)
        x[y == 1, :, ::2] += 1.0
        x[y == 2, :, :, ::2] += 1.0
        self.train, self.val, self.test = random_split(TensorDataset(x, y), [180, 60, 60])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=self.batch_size)
"""

# The user's own hooks write down what Lightning holds after each validation, and who asks for the test split.
WITNESS = """
from pathlib import Path

from their_package.data import StripesDataModule
from their_package.model import LitClassifier


class WitnessedClassifier(LitClassifier):
    def on_validation_end(self):
        with (Path(self.trainer.default_root_dir) / "seen.txt").open("a") as file:
            file.write(f"{self.trainer.callback_metrics['val_loss'].item()!r}\\n")


class WitnessedDataModule(StripesDataModule):
    def test_dataloader(self):
        with Path("test_readings.txt").open("a") as file:
            file.write("read\\n")
        return super().test_dataloader()
"""

STUDY = """
study: theirs
seed: 3
model: {class_path: their_package.witness.WitnessedClassifier, init_args: {drop: 0.1}}
data: {class_path: their_package.witness.WitnessedDataModule}
objective: {monitor: val_loss, direction: minimize}
space:
  model.lr: {log: [1.0e-4, 1.0e-1]}
  model.hidden_dim: {int_log: [4, 32]}
  data.batch_size: {choice: [16, 32]}
stages:
  - {name: coarse, n_trials: 6, max_epochs: 2, sampler: qmc}
  - {name: fine, n_trials: 2, max_epochs: 4, sampler: tpe}
pruner: none
finish: {top_k: 2, n_seeds: 2, ensemble: true, register: false}
"""


def write_package(directory: Path) -> None:
    package = directory / "their_package"
    package.mkdir(parents=True)
    files = {"__init__.py": "", "model.py": MODEL, "data.py": DATA, "witness.py": WITNESS}
    for name, text in files.items():
        (package / name).write_text(text)
    (directory / "their.yaml").write_text(STUDY)


@pytest.fixture(scope="module")
def theirs(
    tmp_path_factory: pytest.TempPathFactory,
    copied_mlflow_database: Callable[[Path], Path],
    worker_template: WorkerTemplate,
) -> CommandLine:
    """The finished study."""
    zeroin = CommandLine(directory=tmp_path_factory.mktemp("theirs"))
    write_package(zeroin.directory)
    copied_mlflow_database(zeroin.home / "mlflow.db")
    with worker_template.used():
        done = zeroin.called("run", "their.yaml", "--devices", "cpu:2", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    # Nobody says here which train data are free of augmentation; that is told once, not by every trial.
    assert done.stdout.count("train_eval_dataloader") == 1
    return zeroin


@pytest.fixture(scope="module")
def record(theirs: CommandLine) -> StudyRecord:
    return read_study("theirs", directory=StateDirectory(root=theirs.home))


def test_every_trial_ends_and_the_monitored_metric_is_what_the_module_logs(
    theirs: CommandLine, record: StudyRecord
) -> None:
    assert record.state is StudyState.FINISHED
    assert [trial.record.number for trial in record.trials] == list(range(8))
    for trial in record.trials:
        assert trial.record.state is TrialState.COMPLETE, trial.record.reason
        assert len(trial.record.epochs) == trial.record.n_epochs
        seen = (theirs.home / "trials" / "theirs" / trial.record.key / "seen.txt").read_text().split()
        assert [epoch.metrics["val_loss"] for epoch in trial.record.epochs] == [float(text) for text in seen]
        assert trial.score is not None
        assert trial.score.best_value == min(float(text) for text in seen)


def test_the_smallest_loss_wins(record: StudyRecord) -> None:
    assert record.result is not None
    first, *others = record.result.confirmations
    assert record.result.best_trial_number == first.trial_number
    assert all(first.mean <= other.mean for other in others)
    losses = {trial.record.number: trial.score.best_value for trial in record.trials if trial.score is not None}
    assert len(others) == 1
    assert all(losses[each.trial_number] < statistics.median(losses.values()) for each in (first, *others))


def test_all_that_it_logs_is_tested_and_reaches_mlflow_with_its_gap(theirs: CommandLine, record: StudyRecord) -> None:
    assert record.result is not None
    assert record.result.n_test_samples == 60
    assert record.result.n_test_readings == 1
    assert (theirs.directory / "test_readings.txt").read_text().split() == ["read"]
    assert ["test_loss" in metrics for metrics in record.result.test_members] == [True, True]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{theirs.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("theirs")
    assert experiment is not None
    runs = {run.data.tags.get("zeroin.trial", ""): run for run in client.search_runs([experiment.experiment_id])}
    for trial in record.trials:
        run = runs[trial.record.key]
        assert set(run.data.params) == {"model.lr", "model.hidden_dim", "data.batch_size"}
        gaps = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "gap_loss")}
        train = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "train_eval_loss")}
        val = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "val_loss")}
        assert sorted(gaps) == list(range(1, trial.record.n_epochs + 1))
        assert gaps == {step: val[step] - train[step] for step in val}
        assert {"gap_acc", "train_eval_acc", "val_acc", "train_acc", "learning_rate"} <= set(run.data.metrics)


@pytest.fixture
def their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Their model and data modules, imported into this process."""
    write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from their_package import data, model  # type: ignore[import-not-found]

    yield model, data
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_package"]:
        del sys.modules[name]


# Lightning advises loader workers and more logging.
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*")
def test_validation_is_bit_identical_with_and_without_the_gap(their_package: Any, tmp_path: Path) -> None:
    model, data = their_package

    class Watch(pl.Callback):
        def __init__(self) -> None:
            self.seen: list[dict[str, float]] = []

        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    def validated(*callbacks: pl.Callback) -> list[dict[str, float]]:
        seed_all(11)
        watch = Watch()
        trainer = pl.Trainer(
            max_epochs=4,
            accelerator="cpu",
            callbacks=[EpochSeeding(11), *callbacks, watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
        )
        trainer.fit(model.LitClassifier(lr=0.01), datamodule=data.StripesDataModule(batch_size=16))
        return watch.seen

    gap = GeneralizationGap(monitor="val_loss", maximize=False, seed=0, log=False)
    without, with_gap = validated(), validated(gap)
    assert len(without) == 4
    assert {"val_loss", "val_acc"} <= set(without[0])
    assert len({epoch["val_loss"] for epoch in without}) == 4
    assert with_gap == without
    assert gap.metrics["gap_loss"] == without[-1]["val_loss"] - gap.metrics["train_eval_loss"]
    assert gap.metrics["gap_acc"] == gap.metrics["train_eval_acc"] - without[-1]["val_acc"]
