"""A module and data for groups of processes: what each rank saw and drew is written down, and it can misbehave."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAccuracy

N_TRAIN, N_VAL, N_TEST = 68, 33, 21


class Noisy(Dataset[Any]):
    """Each sample carries its index, and noise that is drawn anew each time it is read."""

    def __len__(self) -> int:
        return N_TRAIN

    def __getitem__(self, index: int) -> Any:
        x = torch.full((4,), index / N_TRAIN) + 0.1 * torch.rand(4)
        return x, torch.tensor(index % 2), torch.tensor(index)


class Data(pl.LightningDataModule):
    """DataLoaders as everybody writes them, which Lightning divides among the ranks."""

    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_dataloader(self) -> Any:
        return DataLoader(Noisy(), 8, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*fixed(N_VAL, seed=0).tensors, torch.arange(N_VAL)), 16)

    def test_dataloader(self) -> Any:
        return DataLoader(fixed(N_TEST, seed=1), 8)


def fixed(n: int, *, seed: int) -> TensorDataset:
    """Pairs that a linear model can learn."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())


class Net(pl.LightningModule):
    """Logs without `sync_dist`, as most modules do.

    Args:
        record: Directory; every rank appends the indices, the noise and the dropout of its train batches.
        hang_file: The first rank at the third step of the second epoch writes this file and hangs, unless it is there.
        raising_rank: This rank raises in its second epoch, -1 for none.
        nan_rank: This rank's validation loss is NaN, -1 for none.
    """

    def __init__(self, record: str = "", hang_file: str = "", raising_rank: int = -1, nan_rank: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
        self.val_synced = MulticlassAccuracy(num_classes=2, average="micro")
        self.lifetime = SumMetric()  # never reset: part of what a checkpoint must hold, of every rank

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        options: Any = self.hparams
        if self.current_epoch == 1 and options.raising_rank == self.global_rank:
            raise ValueError(f"rank {self.global_rank} does not like it")
        if self.current_epoch == 1 and batch_idx == 2 and options.hang_file:
            self._hang(Path(options.hang_file))
        x, y, index = batch
        self.lifetime.update(len(x))
        if options.record:
            noise = (x - index[:, None] / N_TRAIN).flatten().tolist()
            seen = {
                "epoch": self.current_epoch,
                "index": index.tolist(),
                "noise": noise,
                "drop": torch.rand(2).tolist(),
            }
            with (Path(options.record) / f"rank{self.global_rank}.jsonl").open("a") as file:
                file.write(json.dumps(seen) + "\n")
        return nn.functional.cross_entropy(self(x), y)

    def _hang(self, file: Path) -> None:
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            return
        time.sleep(600)

    def on_train_epoch_end(self) -> None:
        self.log("seen_in_all", self.lifetime.compute())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        options: Any = self.hparams
        logits = self(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log("val_loss", loss * float("nan") if options.nan_rank == self.global_rank else loss)
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())
        self.val_synced(logits, batch[1])
        self.log("val_synced", self.val_synced)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)}


class SharedOut(Net):
    """Its ranks meet whenever the weights are asked for, and rank 0 alone gets them, as if each had a part of them."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        weights = super().state_dict(*args, **kwargs)
        return {} if torch.distributed.is_initialized() and torch.distributed.get_rank() else weights


class StopsOneRank(Net):
    """Ends its training after the second epoch, but on rank 1 alone."""

    def on_validation_epoch_end(self) -> None:
        if self.current_epoch == 1 and self.global_rank == 1:
            self.trainer.should_stop = True
