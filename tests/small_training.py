"""Trials that train in a moment, and the coordinator's side of them: a module, data, assignments, decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from search.early_stopping import divergence_reason
from search.messages import Action, EpochReport, FromWorker, ModelAssembly, TrialAssignment


def tensors(n: int, seed: int) -> TensorDataset:
    """Points ``(n, 5)`` of two classes ``(n,)``, which a line can tell apart."""
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())


class Net(pl.LightningModule):
    """As Lightning's documentation writes them."""

    def __init__(self, learning_rate: float = 0.1, schedule: str = "cosine", hidden: int = 6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 2))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]), prog_bar=True)
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"], momentum=0.9)
        if self.hparams["schedule"] == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=9.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}
        assert self.trainer.max_epochs is not None
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": cosine}


class Data(pl.LightningDataModule):
    """Without test data."""

    def __init__(self, batch_size: int = 16, n_train: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        data = tensors(self.hparams["n_train"], 0)
        return DataLoader(data, self.hparams["batch_size"], shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(tensors(32, 1), 32)


class Stops(Net):
    """Ends its training after the second epoch."""

    def configure_callbacks(self) -> Any:
        return [pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100.0)]


class Coordinator:
    """Decides by a table, CONTINUE otherwise, and keeps what it is told."""

    def __init__(self, decisions: Mapping[int, Action] | None = None, spy: Callable[[int], None] | None = None) -> None:
        self.reports: list[EpochReport] = []
        self.waited_for: list[int] = []
        self._decisions = decisions or {}
        self._spy = spy

    def send(self, message: FromWorker) -> None:
        assert isinstance(message, EpochReport)
        self.reports.append(message)

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        assert self.reports[-1].epoch == epoch
        self.waited_for.append(epoch)
        if self._spy is not None:
            self._spy(epoch)
        return self._decisions.get(epoch, Action.CONTINUE)

    def diverged(self, monitor: str = "val_acc") -> list[bool]:
        """For each report, whether its metrics say that the training diverged."""
        return [bool(divergence_reason(each.metrics, monitor=monitor, epoch=each.epoch)) for each in self.reports]

    @property
    def comparable(self) -> list[dict[str, float]]:
        """Metrics of each report but for the clock's."""
        return comparable(self.reports)


def comparable(reports: Sequence[EpochReport]) -> list[dict[str, float]]:
    """Metrics of each report but for the clock's."""
    return [{k: v for k, v in report.metrics.items() if k != "epoch_seconds"} for report in reports]


def assembly(model: type = Net, data: type = Data, **changes: Any) -> ModelAssembly:
    """How `model` and `data` are made, with fields replaced."""
    fields: dict[str, Any] = {
        "model_class": f"{model.__module__}.{model.__name__}",
        "model_args": {},
        "data_class": f"{data.__module__}.{data.__name__}",
        "data_args": {},
        "trainer_args": {},
        "monitor": "val_acc",
        "maximize": True,
        "data_seed": 0,
        **changes,
    }
    return ModelAssembly(**fields)


def assignment(directory: Path, model: type = Net, **changes: Any) -> TrialAssignment:
    """Three epochs of `model`, with fields replaced."""
    fields: dict[str, Any] = {
        "trial_key": "trial-0001",
        "assembly": assembly(model),
        "directory": str(directory),
        "seed": 5,
        "n_epochs": 3,
        "horizon_epochs": 5,
        "resume": False,
        "n_epochs_reported": 0,
        "merge_validation": False,
        **changes,
    }
    return TrialAssignment(**fields)
