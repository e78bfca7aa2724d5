from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from lightning_modules.conv_net import ConvNet
from lightning_modules.data.digits_data import DigitsDataModule
from lightning_modules.data.tensor_loader import TensorLoader
from lightning_modules.training.initialization import SCHEMES
from lightning_modules.training.learning_rate_schedules import SHAPES, learning_rate_ratio
from lightning_modules.training.optimizers import OPTIMIZERS

pytestmark = [
    # Some tests leave the validation out on purpose.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]


def make_net(**changed: Any) -> ConvNet:
    return ConvNet(**({"in_channels": 1, "n_classes": 10, "widths": (4, 6)} | changed))


def make_trainer(*, max_epochs: int, **changed: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(max_epochs=max_epochs, **(quiet | changed))


def make_loader(n_images: int = 40, *, batch_size: int = 16) -> TensorLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n_images, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (n_images,), generator=generator)
    return TensorLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)


class Spy(pl.Callback):
    """Records the learning rate that each step used, and each train epoch's outputs."""

    def __init__(self) -> None:
        self.learning_rates: list[float] = []
        self.losses: list[float] = []
        self.batch_sizes: list[int] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self.learning_rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"].item())
        self.batch_sizes.append(len(batch[1]))


class SeedEachEpoch(pl.Callback):
    """Makes an epoch's random numbers depend on its number alone, as whoever resumes a training must."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        torch.manual_seed(1000 + trainer.current_epoch)


class StopAfter(pl.Callback):
    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 >= self.n_epochs:
            trainer.should_stop = True


class SaveAt(Checkpoint):
    """Saves the training at the end of one epoch, after the other callbacks, as Lightning does for this base."""

    def __init__(self, epoch: int, path: Path) -> None:
        self.epoch, self.path = epoch, path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (28, 28)])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("hidden_width", [0, 12])
def test_maps_images_of_any_size_to_logits(size: tuple[int, int], norm: str, hidden_width: int) -> None:
    net = make_net(in_channels=3, n_classes=7, widths=[4, 6, 8], norm=norm, hidden_width=hidden_width).eval()
    assert net(torch.randn(5, 3, *size)).shape == (5, 7)


@pytest.mark.parametrize(("norm", "n_expected"), [("batch", 2), ("none", 0)])
def test_norm_decides_on_batch_normalization(norm: str, n_expected: int) -> None:
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in make_net(norm=norm).modules()) == n_expected


def test_dropout_is_the_probability_of_dropping_and_off_in_eval_mode() -> None:
    net = make_net(dropout=0.7, hidden_width=5)
    assert [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)] == [0.7, 0.7]
    images = torch.randn(4, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "zeros"])
def test_weights_scale_with_the_gain_and_follow_the_global_seed(scheme: str) -> None:
    weights = []
    for gain in (1.0, 1.0, 3.0):
        torch.manual_seed(0)
        weights.append([p.detach() for p in make_net(init_scheme=scheme, init_gain=gain).parameters() if p.ndim > 1])
    for first, second, tripled in zip(*weights, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(tripled, 3.0 * first)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("lr_schedule", SHAPES)
def test_every_optimizer_trains_with_every_schedule(optimizer: str, lr_schedule: str) -> None:
    torch.manual_seed(0)
    net, spy = (
        make_net(optimizer=optimizer, lr_schedule=lr_schedule, learning_rate=0.01, lr_cycles=2, lbfgs_max_iter=2),
        Spy(),
    )
    loader = make_loader(batch_size=40 if optimizer == "lbfgs" else 16)
    trainer = make_trainer(max_epochs=3, callbacks=[spy])
    trainer.fit(net, loader)
    n_steps = 3 * len(loader)
    expected = [
        0.01 * learning_rate_ratio(step / n_steps, shape=lr_schedule, decay=0.01, n_cycles=2) for step in range(n_steps)
    ]
    assert spy.learning_rates == pytest.approx(expected)
    final = trainer.optimizers[0].param_groups[0]["lr"]
    assert final == pytest.approx(0.01 if lr_schedule == "constant" else 0.01 * 0.01)
    assert torch.isfinite(trainer.callback_metrics["train_loss"])


def test_horizon_of_the_schedule_is_max_epochs_even_if_training_stops_before() -> None:
    loader, rates = make_loader(), []
    for stop in (2, 6):
        spy = Spy()
        make_trainer(max_epochs=6, callbacks=[spy, StopAfter(stop)]).fit(make_net(), loader)
        rates.append(spy.learning_rates)
    assert len(rates[0]) == 2 * len(loader)
    assert rates[0] == rates[1][: len(rates[0])]


@pytest.mark.parametrize("lr_schedule", ["cosine", "constant"])
def test_an_endless_training_takes_only_a_constant_schedule(lr_schedule: str) -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(make_loader())

    trainer = make_trainer(max_epochs=1, limit_train_batches=2 if lr_schedule == "constant" else 1.0)
    net, loader = make_net(lr_schedule=lr_schedule), torch.utils.data.DataLoader(Endless(), batch_size=None)
    if lr_schedule == "constant":
        trainer.fit(net, loader)
        assert trainer.global_step == 2
    else:
        with pytest.raises(ValueError, match=r"`lr_schedule` 'cosine' spans the whole training.*`max_epochs`"):
            trainer.fit(net, loader)


def test_train_metrics_are_means_over_the_images_of_the_epoch() -> None:
    torch.manual_seed(0)
    spy, trainer_losses = Spy(), []

    class Keep(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            trainer_losses.append(trainer.callback_metrics["train_loss"].item())

    make_trainer(max_epochs=2, callbacks=[spy, Keep()]).fit(make_net(), make_loader(40, batch_size=16))
    losses, sizes = spy.losses[3:], spy.batch_sizes[3:]
    assert sizes == [16, 16, 8]
    expected = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / 40
    assert trainer_losses == [pytest.approx(expected)]


def test_metrics_have_their_names_and_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    net = make_net()
    data = [DigitsDataModule(eval_batch_size=size) for size in (50, 512)]
    trainer = make_trainer(max_epochs=1)
    trainer.fit(net, datamodule=data[0])
    assert set(trainer.callback_metrics) == {"train_loss", "train_acc", "val_loss", "val_acc"}
    for name in ("val", "test"):
        run = trainer.validate if name == "val" else trainer.test
        small, large = (run(net, datamodule=each, verbose=False)[0] for each in data)
        assert set(small) == {f"{name}_loss", f"{name}_acc"}
        assert small == pytest.approx(large)
    images, labels = data[1].test_dataloader().dataset.tensors
    with torch.no_grad():
        logits = net.eval()(images)
    assert large["test_acc"] == pytest.approx((logits.argmax(dim=1) == labels).float().mean().item())
    assert large["test_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "lr_schedule"), [("nesterov", "cosine"), ("adamw", "step"), ("rmsprop", "cyclic")]
)
def test_resuming_from_an_epoch_end_is_exact(optimizer: str, lr_schedule: str, tmp_path: Path) -> None:
    def fit(*, stop: int, checkpoint: Path | None) -> tuple[ConvNet, pl.Trainer, Spy]:
        torch.manual_seed(7 if checkpoint is None else 8)
        net, spy = make_net(optimizer=optimizer, lr_schedule=lr_schedule, learning_rate=0.01), Spy()
        callbacks = [SeedEachEpoch(), StopAfter(stop), spy, SaveAt(2, tmp_path / "2.ckpt")]
        trainer = make_trainer(max_epochs=4, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(net, make_loader(), make_loader(), ckpt_path=checkpoint)
        return net, trainer, spy

    whole, whole_trainer, whole_spy = fit(stop=4, checkpoint=None)
    _, _, first_spy = fit(stop=2, checkpoint=None)
    resumed, resumed_trainer, second_spy = fit(stop=4, checkpoint=tmp_path / "2.ckpt")
    assert first_spy.losses + second_spy.losses == whole_spy.losses
    assert first_spy.learning_rates + second_spy.learning_rates == whole_spy.learning_rates
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert whole_trainer.callback_metrics == resumed_trainer.callback_metrics


def test_checkpoint_is_plain_data_and_rebuilds_the_net(tmp_path: Path) -> None:
    net = make_net(dropout=0.3, widths=[3, 5])
    trainer = make_trainer(max_epochs=1)
    trainer.fit(net, make_loader())
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    torch.load(tmp_path / "net.ckpt", weights_only=True)
    rebuilt = ConvNet.load_from_checkpoint(tmp_path / "net.ckpt", weights_only=True)
    assert rebuilt.hparams == net.hparams
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(rebuilt.eval()(images), net.eval()(images))


@pytest.mark.slow
def test_defaults_learn_the_digits() -> None:
    torch.manual_seed(0)
    trainer = make_trainer(max_epochs=12)
    trainer.fit(ConvNet(in_channels=1, n_classes=10), datamodule=DigitsDataModule())
    assert trainer.callback_metrics["val_acc"].item() > 0.96


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"in_channels": 0}, "`in_channels` must be an integer >= 1, but got 0"),
        ({"n_classes": 1}, "`n_classes`"),
        ({"widths": []}, "`widths` must be a list of at least one integer"),
        ({"widths": "32,64"}, "`widths` .* as a text such as '32-64', but got '32,64'"),
        ({"widths": [32, 0]}, "`widths` must be an integer >= 1, but got 0"),
        ({"hidden_width": -1}, "`hidden_width`"),
        ({"norm": "bach"}, "`norm` must be one of .*Did you mean 'batch'"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\), but got 1\.0"),
        ({"init_scheme": "kaiming"}, "`init_scheme`"),
        ({"init_gain": 0.0}, "`init_gain`"),
        ({"optimizer": "adamm"}, "`optimizer` must be one of .*Did you mean 'adam'"),
        ({"learning_rate": math.nan}, "`learning_rate`"),
        ({"momentum": 1.0}, "`momentum`"),
        ({"weight_decay": -1.0}, "`weight_decay`"),
        ({"lr_schedule": "cos"}, "`lr_schedule` must be one of .*but got 'cos'"),
        ({"lr_decay": 0.0}, r"`lr_decay` must be a number in \(0, 1\], but got 0\.0"),
        ({"lr_decay": "0.1"}, "`lr_decay` .* but got '0.1'"),
    ],
)
def test_refuses_arguments_out_of_bounds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net(**changed)


@pytest.mark.slow
def test_package_imports_no_torch_before_a_class_is_used_and_never_the_engine() -> None:
    code = (
        "import sys, lightning_modules\n"
        "assert 'torch' not in sys.modules\n"
        "assert lightning_modules.ConvNet.__name__ == 'ConvNet'\n"
        "assert lightning_modules.DigitsDataModule.__name__ == 'DigitsDataModule'\n"
        "assert not {'search', 'optuna', 'mlflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_package_refuses_unknown_names() -> None:
    import lightning_modules

    with pytest.raises(AttributeError, match="has no attribute 'ConvNot'"):
        _ = lightning_modules.ConvNot
