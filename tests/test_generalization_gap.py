"""The gap callback measures like validation does, and nobody can tell from anything else that it was there."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset
from torchmetrics import Accuracy, F1Score, MeanMetric, MetricCollection

from lightning_modules.callbacks.captured_evaluation import captured_evaluation
from lightning_modules.callbacks.generalization_gap import GeneralizationGap, higher_is_better
from lightning_modules.callbacks.preserved_module import preserved
from lightning_modules.callbacks.train_subset import TrainSubset

pytestmark = [
    # Lightning advises loader workers and more logging.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]

N_CLASSES = 3


def make_data(n: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 4, 4, generator=generator)
    return TensorDataset(x, (x.mean((1, 2, 3)) * 6 + 1.5).long().clamp(0, N_CLASSES - 1))


class Plain(pl.LightningModule):
    """Batch normalization, dropout and plain logging."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, N_CLASSES)
        )
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean(), on_step=True, on_epoch=True)
        self.log("val_only_steps", 1.0, on_step=True, on_epoch=False)
        self.log("val_max_loss", nn.functional.cross_entropy(logits, batch[1]), reduce_fx="max")
        self.log("val_count", float(len(batch[1])), reduce_fx=torch.sum)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class WithMetrics(Plain):
    """Metrics logged as objects, in a collection, shared through a plain dict, and through `log_dict`."""

    def __init__(self) -> None:
        super().__init__()
        self.val_acc = Accuracy(task="multiclass", num_classes=N_CLASSES)
        self.collection = MetricCollection(
            {
                "micro": F1Score(task="multiclass", num_classes=N_CLASSES, average="micro"),
                "macro": F1Score(task="multiclass", num_classes=N_CLASSES, average="macro"),
            },
            prefix="val_",
        )
        self.alias = {"acc": self.val_acc}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.alias["acc"](logits, batch[1])
        self.log("val_acc", self.val_acc)
        self.collection.update(logits, batch[1])
        self.log_dict(self.collection)
        self.log_dict({"val_loss": nn.functional.cross_entropy(logits, batch[1])}, batch_size=len(batch[1]))


class Meter:
    """A user's own running mean."""

    def __init__(self) -> None:
        self.total, self.n = 0.0, 0


class Accumulating(Plain):
    """Keeps outputs in lists, a meter, a never-reset metric, arrays; draws random numbers; logs at the epoch's end."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, list[Tensor]] = {"logits": [], "labels": []}
        self.meter = Meter()
        self.seen = np.zeros(N_CLASSES)
        self.running = MeanMetric()
        self.register_buffer("n_calls", torch.zeros(()))
        self.generator = torch.Generator().manual_seed(3)
        self.history: list[float] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.outputs["logits"].append(self(batch[0]) + 1e-3 * torch.rand(1, generator=self.generator))
        self.outputs["labels"].append(batch[1])
        self.meter.total += random.random() + float(np.random.rand()) + torch.rand(1).item()
        self.meter.n += 1
        self.seen += np.bincount(batch[1].numpy(), minlength=N_CLASSES)
        self.n_calls += 1
        self.running.update(self.meter.total)

    def on_validation_epoch_end(self) -> None:
        logits, labels = torch.cat(self.outputs["logits"]), torch.cat(self.outputs["labels"])
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_acc", (logits.argmax(1) == labels).float().mean())
        self.log("val_meter", self.meter.total / self.meter.n)
        self.log("val_seen", float(self.seen.sum()))
        self.log("val_calls", self.n_calls)
        self.log("val_running", self.running.compute())
        self.history.append(float(self.n_calls))
        self.outputs["logits"].clear()
        self.outputs["labels"] = []
        self.train(self.training)


class OverridesLog(Plain):
    """Renames what it logs."""

    def log(self, name: str, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        super().log(name.replace("val_", "val/"), *args, **kwargs)


class Shuffled(Dataset[Any]):
    """Augments with all three global generators."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        x, y = self.data[index]
        return x + 0.1 * random.random() + 0.1 * float(np.random.rand()) + 0.1 * torch.rand(1), y


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        ours = ("gap_", "train_eval_")
        metrics = trainer.callback_metrics
        self.epochs.append({name: value.item() for name, value in metrics.items() if not name.startswith(ours)})


def fit(module: pl.LightningModule, *callbacks: pl.Callback, **trainer_args: Any) -> list[dict[str, float]]:
    pl.seed_everything(5, verbose=False)
    recorder = Recorder()
    trainer = pl.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "logger": DummyLogger(), **trainer_args},
        callbacks=[*callbacks, recorder],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = DataLoader(Shuffled(make_data(90, 0)), batch_size=16, shuffle=True)
    trainer.fit(module, train, DataLoader(make_data(50, 1), batch_size=20))
    return recorder.epochs


def make(kind: type[pl.LightningModule]) -> pl.LightningModule:
    pl.seed_everything(4, verbose=False)
    return kind()


def make_gap(**options: Any) -> GeneralizationGap:
    return GeneralizationGap(monitor="val_acc", maximize=True, seed=0, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"val_check_interval": 0.5}, marks=pytest.mark.slow),
        pytest.param({"accumulate_grad_batches": 2}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", [Plain, WithMetrics, Accumulating, OverridesLog])
def test_everything_else_is_bit_identical_with_and_without_the_callback(
    kind: type[pl.LightningModule], options: dict[str, Any]
) -> None:
    without, with_gap = make(kind), make(kind)
    gap = make_gap()
    expected = fit(without, **options)
    assert fit(with_gap, gap, **options) == expected
    assert any(name.startswith("gap_") for name in gap.metrics)
    assert with_gap.losses == without.losses
    for name, value in without.state_dict().items():
        assert torch.equal(with_gap.state_dict()[name], value), name
    assert getattr(with_gap, "history", None) == getattr(without, "history", None)


@pytest.mark.parametrize("kind", [Plain, WithMetrics])
def test_on_the_validation_data_themselves_there_is_no_gap_at_all(kind: type[pl.LightningModule]) -> None:
    module, gap = make(kind), make_gap()
    module.train_eval_dataloader = lambda: DataLoader(make_data(50, 1), batch_size=20)  # type: ignore[assignment]
    fit(module, gap)
    assert gap.notices == ()
    gaps = {name: value for name, value in gap.metrics.items() if name.startswith("gap_")}
    assert {"gap_loss", "gap_acc"} <= gaps.keys()
    assert set(gaps.values()) == {0.0}


def test_metrics_of_the_epoch_are_named_and_signed_so_that_overfitting_is_positive() -> None:
    module, gap = make(Plain), make_gap()
    epochs = fit(module, gap)
    metrics = gap.metrics
    assert metrics["gap_loss"] == epochs[-1]["val_loss"] - metrics["train_eval_loss"]
    assert metrics["gap_acc"] == metrics["train_eval_acc"] - epochs[-1]["val_acc"]
    assert metrics["train_eval_count"] == 50.0
    assert "gap_only_steps" not in metrics
    assert "augmentation" in gap.notices[0]


def test_given_directions_beat_the_rule_of_names() -> None:
    monitored = GeneralizationGap(monitor="val_loss", maximize=True, seed=0)
    further = make_gap(further_maximize={"val_loss": True})
    for odd in (monitored, further):
        epochs = fit(make(Plain), odd)
        assert odd.metrics["gap_loss"] == odd.metrics["train_eval_loss"] - epochs[-1]["val_loss"]
        assert odd.metrics["gap_acc"] == odd.metrics["train_eval_acc"] - epochs[-1]["val_acc"]


def test_subset_has_the_size_asked_for_and_the_cache_changes_nothing() -> None:
    small, uncached = make_gap(n_samples=7), make_gap(n_samples=7, cache_bytes=0)
    fit(make(Plain), small)
    fit(make(Plain), uncached)
    assert small.metrics["train_eval_count"] == 7.0
    assert dict(uncached.metrics) == dict(small.metrics)


def test_the_subset_has_no_sample_that_the_train_loader_leaves_out() -> None:
    data = TensorDataset(torch.arange(40))
    loader = DataLoader(data, 4, sampler=SubsetRandomSampler(range(10, 20)))
    batches = list(TrainSubset(loader, n_samples=100, seed=0, cache_bytes=0))
    assert torch.cat([batch[0] for batch in batches]).tolist() == list(range(10, 20))


def test_gap_is_logged_for_loggers_and_other_callbacks_unless_told_otherwise() -> None:
    class Watch(pl.Callback):
        names: set[str] = set()  # noqa: RUF012

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.names = set(trainer.callback_metrics)

    watch = Watch()
    fit(make(Plain), make_gap(), watch)
    assert {"gap_acc", "train_eval_acc"} <= watch.names
    fit(make(Plain), make_gap(log=False), watch)
    assert "gap_acc" not in watch.names


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.n_read = 0

    def __iter__(self) -> Any:
        for x, y in make_data(40, 0):
            self.n_read += 1
            yield x, y


def test_of_a_stream_the_first_batches_are_taken_from_a_copy() -> None:
    stream, gap = Stream(), make_gap()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[gap],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(make(Plain), DataLoader(stream, batch_size=8), DataLoader(make_data(20, 1), batch_size=10))
    assert gap.metrics["train_eval_count"] == 24.0
    assert stream.n_read == 80


class InMemory(pl.LightningDataModule):
    """Loaders that are plain iterables with a length."""

    class Loader:
        def __init__(self, dataset: TensorDataset, *, batch_size: int) -> None:
            self.dataset = dataset
            self.batch_size = batch_size

        def __len__(self) -> int:
            return -(-len(self.dataset) // self.batch_size)

        def __iter__(self) -> Any:
            tensors = self.dataset.tensors
            yield from zip(*(tensor.split(self.batch_size) for tensor in tensors), strict=True)

    def train_dataloader(self) -> Any:
        return self.Loader(make_data(40, 0), batch_size=8)

    def train_eval_dataloader(self) -> Any:
        return self.Loader(make_data(40, 0), batch_size=6)

    def val_dataloader(self) -> Any:
        return self.Loader(make_data(20, 1), batch_size=10)


@pytest.mark.parametrize(("n_samples", "n_measured"), [(None, 24.0), (1, 6.0), (1000, 40.0)])
def test_of_a_loader_that_is_no_dataloader_whole_batches_are_taken(n_samples: int | None, n_measured: float) -> None:
    for seed in range(3):
        gap = GeneralizationGap(monitor="val_acc", maximize=True, seed=seed, n_samples=n_samples)
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=[gap],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(make(Plain), datamodule=InMemory())
        assert gap.notices == ()
        # The last batch of the 40 samples has 4, not 6.
        assert gap.metrics["train_eval_count"] in {n_measured, n_measured - 2.0 * (n_measured < 40.0)}


def test_several_train_loaders_have_no_gap_and_say_why() -> None:
    class Two(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch[0], batch_idx)

    gap = make_gap()
    loaders = [DataLoader(make_data(20, seed), batch_size=10) for seed in (0, 1)]
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[gap],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(make(Two), loaders, loaders[0])
    assert dict(gap.metrics) == {}
    assert "train_eval_dataloader" in gap.notices[0]


def test_captured_evaluation_equals_the_trainers_own_validation() -> None:
    for kind in (Plain, WithMetrics):
        module = make(kind)
        loader = DataLoader(make_data(50, 1), batch_size=20)
        trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        expected = trainer.validate(module, loader, verbose=False)[0]
        found = captured_evaluation(trainer, module, loader)
        assert module.training
        for name, value in found.items():
            logged = expected[f"{name}_epoch"] if f"{name}_epoch" in expected else expected[name]
            assert value == logged, name


def test_preserved_restores_what_a_module_can_reach() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout()
            self.nested = {"a": [1, {2}], "b": (np.arange(3), [torch.zeros(2)])}
            self.meter = Meter()
            self.rng = random.Random(0)
            self.np_rng = np.random.default_rng(0)

    module = Odd()
    module.drop.eval()
    inner = module.nested["a"]
    expected = (random.Random(0).random(), np.random.default_rng(0).random())
    with pytest.raises(RuntimeError, match="undone"), preserved(module):
        module.train()
        module.new = 1
        inner.append(5)
        inner[1].add(3)
        module.nested["b"][0][:] = 9
        module.nested["b"][1][0].add_(1)
        module.nested = {}
        module.meter.total = 7.0
        module.rng.random()
        module.np_rng.random()
        raise RuntimeError("undone")
    assert not hasattr(module, "new")
    assert module.training
    assert not module.drop.training
    assert module.nested["a"] is inner
    assert inner == [1, {2}]
    assert module.nested["b"][0].tolist() == [0, 1, 2]
    assert module.nested["b"][1][0].tolist() == [0, 0]
    assert module.meter.total == 0.0
    assert (module.rng.random(), module.np_rng.random()) == expected


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        *[(name, True) for name in ("val_acc", "val/auroc", "val_f1", "valid_iou", "top5", "val_lossless_ratio")],
        *[(name, False) for name in ("val_loss", "val/top1_error", "valMSE", "perplexity", "val_l2loss", "val_ce")],
    ],
)
def test_directions_follow_from_the_words_of_a_name(name: str, higher: bool) -> None:
    assert higher_is_better(name) is higher
