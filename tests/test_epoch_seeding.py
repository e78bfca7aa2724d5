"""A fit that is stopped after any epoch and resumed with new objects equals the uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchmetrics import Accuracy, MeanMetric

from lightning_modules.callbacks.epoch_checkpoint import (
    CheckpointError,
    EpochCheckpoint,
    load_checkpoint,
    save_weights,
    write_atomically,
)
from lightning_modules.callbacks.epoch_seeding import EpochSeeding, seed_all
from lightning_modules.callbacks.generalization_gap import GeneralizationGap

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled.*"),  # on purpose: validation draws too
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # torch warns of a fork in a process with threads; the loader workers only read tensors.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*The epoch parameter in `scheduler.step.*"),  # SequentialLR's own
]

N_EPOCHS = 4


class Noisy(Dataset[Any]):
    """Augments with all three global generators."""

    def __init__(self, n: int = 40) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, 6, generator=generator)
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        noise = random.random() + float(np.random.rand()) + torch.rand(1).item()
        return self.x[index] + 0.1 * noise, self.y[index]


class NoisyStream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        data = Noisy()
        for index in torch.randperm(len(data)).tolist():
            yield data[index]


Schedule = Callable[[pl.LightningModule, torch.optim.Optimizer], Any]


class Net(pl.LightningModule):
    def __init__(self, optimizer: str, schedule: Schedule | None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="schedule")
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 2))
        self.schedule = schedule
        self.train_acc = Accuracy(task="multiclass", num_classes=2)
        self.train_acc.persistent(True)
        self.ever = MeanMetric()  # never reset
        self.learning_rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = next(iter(batch.values())) if isinstance(batch, dict) else batch
        logits = self.net(x + 0.01 * torch.randn_like(x))
        loss = nn.functional.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.ever.update(loss)
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        self.learning_rates.append(self.optimizers().param_groups[0]["lr"])
        return loss

    def on_train_epoch_start(self) -> None:
        torch.rand(3)  # a hook that draws

    def on_train_start(self) -> None:
        torch.rand(7)

    def on_train_epoch_end(self) -> None:
        self.log("ever", self.ever.compute())
        self.log("drawn", torch.rand(1))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        kinds: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "nesterov": lambda: torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9, nesterov=True),
            "adamw": lambda: torch.optim.AdamW(self.parameters(), lr=0.05, amsgrad=True),
        }
        optimizer = kinds[self.hparams["optimizer"]]()
        return optimizer if self.schedule is None else ([optimizer], [self.schedule(self, optimizer)])


class Data(pl.LightningDataModule):
    def __init__(self, make_train: Callable[[], Any]) -> None:
        super().__init__()
        self.make_train = make_train

    def train_dataloader(self) -> Any:
        torch.rand(1)
        return self.make_train()

    def val_dataloader(self) -> Any:
        return DataLoader(Noisy(20), batch_size=8, shuffle=True)


def shuffled(**options: Any) -> DataLoader[Any]:
    return DataLoader(Noisy(), batch_size=8, shuffle=True, **options)


SCHEDULES: dict[str, Schedule | None] = {
    "none": None,
    "exponential": lambda m, o: lr_scheduler.ExponentialLR(o, 0.7),
    "multi_step": lambda m, o: lr_scheduler.MultiStepLR(o, [1, 3], 0.3),
    "cosine_steps": lambda m, o: {
        "scheduler": lr_scheduler.CosineAnnealingLR(o, int(m.trainer.estimated_stepping_batches)),
        "interval": "step",
    },
    "one_cycle": lambda m, o: {
        "scheduler": lr_scheduler.OneCycleLR(o, 0.3, total_steps=int(m.trainer.estimated_stepping_batches)),
        "interval": "step",
    },
    "lambda": lambda m, o: lr_scheduler.LambdaLR(o, lambda epoch: 0.8**epoch),
    "sequential": lambda m, o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "warm_restarts_every_2": lambda m, o: {
        "scheduler": lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
        "frequency": 2,
    },
    "plateau": lambda m, o: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0),
        "monitor": "val_loss",
    },
    "plateau_train_every_2": lambda m, o: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0),
        "monitor": "train_loss",
        "frequency": 2,
    },
}


class History(pl.Callback):
    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def after_epoch(self, trainer: pl.Trainer) -> None:
        self.epochs.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit(
    directory: Path,
    module: pl.LightningModule,
    data: Data,
    *,
    stop_after: int = N_EPOCHS,
    resume: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    **trainer_args: Any,
) -> list[dict[str, float]]:
    """One process's life: until `stop_after` epochs of `N_EPOCHS` are done."""
    history = History()

    def after_save(trainer: pl.Trainer) -> None:
        history.after_epoch(trainer)
        trainer.should_stop = trainer.current_epoch >= stop_after

    trainer = pl.Trainer(
        **{"max_epochs": N_EPOCHS, **trainer_args},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[
            *callbacks,
            EpochSeeding(11),
            GeneralizationGap(monitor="val_acc", maximize=True, seed=0),
            EpochCheckpoint(directory, after_save=after_save),
        ],
    )
    path = directory / "last.ckpt" if resume else None
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True if resume else None)
    return history.epochs


def make(optimizer: str, schedule: str) -> Net:
    seed_all(3)
    return Net(optimizer, SCHEDULES[schedule])


def assert_resumed_equals_uninterrupted(
    directory: Path,
    make_module: Callable[[], pl.LightningModule],
    make_train: Callable[[], Any],
    *,
    stops: tuple[int, ...],
    **trainer_args: Any,
) -> None:
    whole = make_module()
    expected = fit(directory, whole, Data(make_train), **trainer_args)
    assert len(expected) == N_EPOCHS
    assert len({epoch["train_loss"] for epoch in expected}) == N_EPOCHS
    for stop in stops:
        first = make_module()
        epochs = fit(directory, first, Data(make_train), stop_after=stop, **trainer_args)
        torch.rand(stop)  # a new process's random state is anything
        second = make_module()
        epochs += fit(directory, second, Data(make_train), resume=True, **trainer_args)
        assert epochs == expected
        for name, value in whole.state_dict().items():
            assert torch.equal(second.state_dict()[name], value), name
        rates = getattr(first, "learning_rates", []) + getattr(second, "learning_rates", [])
        assert rates == getattr(whole, "learning_rates", [])


@pytest.mark.parametrize(
    "schedule", [name if name == "plateau" else pytest.param(name, marks=pytest.mark.slow) for name in SCHEDULES]
)
def test_resumed_equals_uninterrupted_for_every_schedule(schedule: str, tmp_path: Path) -> None:
    assert_resumed_equals_uninterrupted(
        tmp_path, lambda: make("nesterov", schedule), shuffled, stops=(1, 2, 3) if "plateau" in schedule else (2,)
    )


@pytest.mark.parametrize(
    "trainer_args",
    [
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
        {"check_val_every_n_epoch": 2},
        {"limit_train_batches": 3},
        {"reload_dataloaders_every_n_epochs": 1},
        {"precision": "bf16-mixed"},
        {"val_check_interval": 0.4},
    ],
)
@pytest.mark.slow
def test_resumed_equals_uninterrupted_for_trainer_arguments(trainer_args: dict[str, Any], tmp_path: Path) -> None:
    assert_resumed_equals_uninterrupted(
        tmp_path, lambda: make("adamw", "exponential"), shuffled, stops=(1, 3), **trainer_args
    )


LOADERS: dict[str, Callable[[], Any]] = {
    "own_generator": lambda: shuffled(generator=torch.Generator().manual_seed(9)),
    "stream": lambda: DataLoader(NoisyStream(), batch_size=8),
    "no_loader": lambda: [next(iter(shuffled())) for _ in range(1)] and Batches(),
    "dict": lambda: {"a": shuffled(), "b": DataLoader(Noisy(16), batch_size=8, shuffle=True)},
    "combined": lambda: CombinedLoader({"a": shuffled(), "b": shuffled()}, "min_size"),
}


class Batches:
    """Iterable, of no known kind, without a length."""

    def __iter__(self) -> Any:
        data = Noisy()
        for start in range(0, 40, 8):
            x, y = zip(*(data[index] for index in range(start, start + 8)), strict=True)
            yield torch.stack(x), torch.stack(y)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOADERS)
def test_resumed_equals_uninterrupted_for_every_kind_of_loader(kind: str, tmp_path: Path) -> None:
    assert_resumed_equals_uninterrupted(tmp_path, lambda: make("adamw", "plateau"), LOADERS[kind], stops=(1, 2))


@pytest.mark.slow
def test_resumed_equals_uninterrupted_with_loader_workers(tmp_path: Path) -> None:
    assert_resumed_equals_uninterrupted(
        tmp_path, lambda: make("adamw", "exponential"), lambda: shuffled(num_workers=2), stops=(2,)
    )


def test_module_with_its_own_loaders(tmp_path: Path) -> None:
    class Own(Net):
        def train_dataloader(self) -> Any:
            return shuffled()

        def val_dataloader(self) -> Any:
            return DataLoader(Noisy(20), batch_size=8)

    def run(**options: Any) -> list[dict[str, float]]:
        seed_all(3)
        return fit(tmp_path, Own("adamw", SCHEDULES["plateau"]), None, **options)  # type: ignore[arg-type]

    expected = run()
    assert run(stop_after=2) + run(resume=True) == expected


def test_epochs_differ_and_seeds_differ(tmp_path: Path) -> None:
    """The seed decides, and no epoch repeats another's shuffling."""
    orders: dict[tuple[int, int], list[int]] = {}

    class Order(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            key = (self.seed, self.current_epoch)
            orders.setdefault(key, []).extend(batch[0][:, 0].argsort().tolist())
            return super().training_step(batch, batch_idx)

    for seed in (0, 1):
        seed_all(3)
        module = Order("adamw", None)
        module.seed = seed
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[EpochSeeding(seed)],
        )
        trainer.fit(module, datamodule=Data(shuffled))
    assert len({tuple(order) for order in orders.values()}) == 4


def test_loader_keeps_its_class_and_attributes_and_the_data_module_its_method() -> None:
    class Mine(DataLoader[Any]):
        def hello(self) -> int:
            return len(self)

    data = Data(lambda: Mine(Noisy(), batch_size=8))

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            loader = trainer.train_dataloader
            assert isinstance(loader, Mine)
            assert loader.hello() == 5
            assert type(loader).__name__ == "Mine"
            assert loader.dataset is not None

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EpochSeeding(0), Look()],
    )
    trainer.fit(make("adamw", "none"), datamodule=data)
    assert "train_dataloader" not in vars(data)


def test_checkpoint_holds_no_hyperparameters_and_only_plain_data(tmp_path: Path) -> None:
    fit(tmp_path, make("adamw", "plateau"), Data(shuffled), stop_after=1)
    checkpoint = load_checkpoint(tmp_path / "last.ckpt")
    assert not {"hyper_parameters", "datamodule_hyper_parameters", "hparams_name"} & checkpoint.keys()
    assert checkpoint["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_damaged_checkpoint_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    fit(tmp_path, make("adamw", "none"), Data(shuffled), stop_after=1)
    path = tmp_path / "last.ckpt"
    whole = path.read_bytes()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
            load_checkpoint(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda temporary: temporary.write_bytes(b"old"))

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("epoch_seconds", "n_synced"), [(0.0, 0), (0.3, 1), (1.0, 4)])
def test_checkpoint_is_synced_at_most_once_a_second(
    epoch_seconds: float, n_synced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    clock = [100.0]
    fsync = os.fsync

    def count(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", count)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Clock(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            clock[0] += epoch_seconds

    fit(tmp_path, make("adamw", "none"), Data(shuffled), callbacks=[Clock()])
    assert load_checkpoint(tmp_path / "last.ckpt")["epoch"] == N_EPOCHS
    assert len(synced) == n_synced
    save_weights(tmp_path / "weights.pt", {})
    assert len(synced) == n_synced + 1


def test_seed_all_is_a_function_of_all_its_arguments() -> None:
    def draw(*arguments: Any) -> tuple[float, float, float]:
        seed_all(*arguments)
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    assert draw(1, "a", 2) == draw(1, "a", 2)
    drawn = [draw(*arguments) for arguments in ((1, "a", 2), (1, "a", 3), (2, "a", 2), (1, "b", 2), (1,))]
    assert len({value for values in drawn for value in values}) == 15
