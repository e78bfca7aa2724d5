"""One trial in the worker, called in this process: reports, decisions, checkpoints, refits, errors."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.messages import Action, EpochReport, FromWorker, ModelAssembly, TestAssignment, TrialAssignment
from search.worker.epoch_metrics import has_diverged
from search.worker.test_reading import read_test
from search.worker.training import train

pytestmark = []


def tensors(n: int, seed: int) -> TensorDataset:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())


class Net(pl.LightningModule):
    """As Lightning's documentation writes them."""

    def __init__(self, learning_rate: float = 0.1, schedule: str = "cosine", hidden: int = 6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

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


class WithTestStep(Net):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())
        self.log("test_seen", float(len(batch[1])), reduce_fx="sum")


class LogsSteps(Net):
    """Logs the last batch's loss under the epoch's name, and the accuracy both ways."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        self.log("train_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean(), on_step=True, on_epoch=True)
        return loss


class Stops(Net):
    def configure_callbacks(self) -> Any:
        return [pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100.0)]


class Raises(Net):
    """Raises what its init argument says, in the second epoch."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch == 1:
            if self.what == "exit":
                sys.exit(3)
            raise {"value": ValueError("bad value"), "interrupt": KeyboardInterrupt()}[self.what]
        return super().training_step(batch, batch_idx)


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 16, n_train: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        data = tensors(self.hparams["n_train"], 0)
        return DataLoader(data, self.hparams["batch_size"], shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(tensors(32, 1), 32)


class TrainDataAlone(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return Data().train_dataloader()


class TestedData(Data):
    __test__ = False
    n_read = 0

    def test_dataloader(self) -> Any:
        type(self).n_read += 1
        return DataLoader(tensors(50, 2), 20)


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

    @property
    def comparable(self) -> list[dict[str, float]]:
        """Metrics of each report but for the clock's."""
        return [{k: v for k, v in report.metrics.items() if k != "epoch_seconds"} for report in self.reports]


def assembly(model: type = Net, data: type = Data, **changes: Any) -> ModelAssembly:
    fields: dict[str, Any] = {
        "model_class": f"{__name__}.{model.__name__}",
        "model_args": {},
        "data_class": f"{__name__}.{data.__name__}",
        "data_args": {},
        "trainer_args": {},
        "monitor": "val_acc",
        "maximize": True,
        "data_seed": 0,
        **changes,
    }
    return ModelAssembly(**fields)


def assignment(directory: Path, model: type = Net, **changes: Any) -> TrialAssignment:
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


def test_reports_hold_every_metric_and_the_trial_ends_at_its_epochs(tmp_path: Path) -> None:
    coordinator = Coordinator()
    ended = train(assignment(tmp_path), coordinator)
    assert (ended.n_epochs, ended.error, ended.stopped_by_module) == (3, "", False)
    assert [report.epoch for report in coordinator.reports] == coordinator.waited_for == [1, 2, 3]
    names = {"train_loss", "val_loss", "val_acc", "learning_rate", "epoch_seconds"}
    derived = {"train_eval_loss", "train_eval_acc", "gap_loss", "gap_acc"}
    assert all(set(report.metrics) == names | derived for report in coordinator.reports)
    rates = [report.metrics["learning_rate"] for report in coordinator.reports]
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(3)])
    assert not any(report.diverged for report in coordinator.reports)
    assert "augmentation" in ended.notices[0]


def test_checkpoint_is_written_before_the_decision_is_waited_for(tmp_path: Path) -> None:
    seen: list[int] = []
    spy = lambda _: seen.append(load_checkpoint(tmp_path / "last.ckpt")["epoch"])  # noqa: E731
    train(assignment(tmp_path), Coordinator(spy=spy))
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("action", [Action.STOP, Action.PAUSE])
def test_decision_to_stop_or_pause_ends_the_trial_after_that_epoch(action: Action, tmp_path: Path) -> None:
    ended = train(assignment(tmp_path), Coordinator({2: action}))
    assert (ended.n_epochs, ended.error, ended.stopped_by_module) == (2, "", False)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_paused_and_resumed_equals_uninterrupted(schedule: str, tmp_path: Path) -> None:
    made = assembly(model_args={"schedule": schedule})
    whole, parts = Coordinator(), Coordinator({1: Action.PAUSE, 2: Action.PAUSE})
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train(assignment(tmp_path / "whole", assembly=made), whole)
    for done in range(3):
        ended = train(assignment(tmp_path / "parts", assembly=made, resume=done > 0, n_epochs_reported=done), parts)
        assert ended.n_epochs == done + 1
    assert parts.comparable == whole.comparable
    weights = [load_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "parts")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_seed_decides_the_weights_and_nothing_else_does(tmp_path: Path) -> None:
    runs = []
    for seed in (5, 5, 6):
        torch.rand(3)
        coordinator = Coordinator()
        train(assignment(tmp_path, seed=seed, n_epochs=1), coordinator)
        runs.append(coordinator.comparable)
    assert runs[0] == runs[1] != runs[2]


def test_reports_that_the_coordinator_lost_are_sent_again_before_training_goes_on(tmp_path: Path) -> None:
    first = Coordinator({2: Action.PAUSE})
    train(assignment(tmp_path), first)
    second = Coordinator()
    ended = train(assignment(tmp_path, resume=True, n_epochs_reported=0), second)
    assert second.waited_for == [1, 2, 3]
    assert second.reports[:2] == first.reports
    assert ended.n_epochs == 3


def test_complete_checkpoint_is_reported_and_nothing_is_trained(tmp_path: Path) -> None:
    train(assignment(tmp_path), Coordinator())
    again = Coordinator()
    ended = train(assignment(tmp_path, resume=True, n_epochs=2, n_epochs_reported=1), again)
    assert again.waited_for == [2]
    assert (ended.n_epochs, ended.error, ended.stopped_by_module) == (2, "", False)


def test_decision_on_a_report_sent_again_counts(tmp_path: Path) -> None:
    train(assignment(tmp_path), Coordinator({2: Action.PAUSE}))
    ended = train(assignment(tmp_path, resume=True), again := Coordinator({1: Action.STOP}))
    assert again.waited_for == [1]
    assert ended.n_epochs == 1


def test_checkpoint_older_than_the_log_has_its_epochs_trained_again(tmp_path: Path) -> None:
    whole = Coordinator()
    train(assignment(tmp_path), whole)
    train(assignment(tmp_path), Coordinator({1: Action.PAUSE}))
    again = Coordinator()
    train(assignment(tmp_path, resume=True, n_epochs_reported=2), again)
    assert again.comparable == whole.comparable[1:]


@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_useless_checkpoint_starts_the_trial_anew_with_a_notice(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    coordinator = Coordinator()
    ended = train(assignment(tmp_path, resume=True, n_epochs=1), coordinator)
    assert ended.n_epochs == 1
    assert "begins anew" in ended.notices[0]


def test_resume_without_a_checkpoint_begins_without_a_word(tmp_path: Path) -> None:
    ended = train(assignment(tmp_path, resume=True, n_epochs=1), Coordinator())
    assert ended.n_epochs == 1
    assert not any("anew" in notice for notice in ended.notices)


def test_diverged_trial_reports_and_goes_on_until_told_to_stop(tmp_path: Path) -> None:
    made = assembly(model_args={"learning_rate": 1e30})
    coordinator = Coordinator({2: Action.STOP})
    ended = train(assignment(tmp_path, assembly=made), coordinator)
    assert [report.diverged for report in coordinator.reports] == [True, True]
    assert math.isnan(coordinator.reports[-1].metrics["train_loss"])
    assert (ended.n_epochs, ended.error) == (2, "")


class LogsNaN(Net):
    """Logs a metric that is NaN, as the precision of a class is that no sample has.

    Args:
        name: What it is called.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log(self.name, math.nan)


@pytest.mark.parametrize(("monitor", "diverged"), [("val_acc", False), ("val_precision_class7", True)])
def test_only_the_monitored_metric_can_make_a_trial_diverge(monitor: str, diverged: bool, tmp_path: Path) -> None:
    made = assembly(LogsNaN, model_args={"name": "val_precision_class7"}, monitor=monitor)
    coordinator = Coordinator()
    assert train(assignment(tmp_path, assembly=made, n_epochs=2), coordinator).error == ""
    assert [report.diverged for report in coordinator.reports] == [diverged, diverged]
    assert math.isnan(coordinator.reports[0].metrics["val_precision_class7"])


class LogsItsOwnLoss(Net):
    """Logs a ``train_loss`` of 0.25 whatever the loss is.

    Args:
        broken_batch: Index of the batch whose loss is infinite.
    """

    def __init__(self, broken_batch: int | None) -> None:
        super().__init__()
        self.broken_batch = broken_batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", 0.25, on_step=False, on_epoch=True)
        return loss / 0.0 if batch_idx == self.broken_batch else loss


@pytest.mark.parametrize("broken_batch", [None, 0, 3])
def test_train_loss_that_a_module_logs_is_kept_unless_a_step_was_not_finite(
    broken_batch: int | None, tmp_path: Path
) -> None:
    made = assembly(LogsItsOwnLoss, model_args={"broken_batch": broken_batch})
    coordinator = Coordinator()
    assert train(assignment(tmp_path, assembly=made, n_epochs=1), coordinator).error == ""
    (report,) = coordinator.reports
    if broken_batch is None:
        assert (report.metrics["train_loss"], report.diverged) == (0.25, False)
    else:
        assert (math.isfinite(report.metrics["train_loss"]), report.diverged) == (False, True)


@given(metrics=st.dictionaries(st.sampled_from(["train_loss", "val_acc", "val_loss", "gap_acc"]), st.floats()))
def test_divergence_is_a_function_of_train_loss_and_monitor_alone(metrics: dict[str, float]) -> None:
    watched = [metrics[name] for name in ("train_loss", "val_acc") if name in metrics]
    assert has_diverged(metrics, monitor="val_acc") == any(math.isnan(each) or math.isinf(each) for each in watched)


class LossOfHalfPrecision(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (10_000.0 + 0.0 * super().training_step(batch, batch_idx)).half()


def test_sum_of_losses_of_half_precision_does_not_overflow(tmp_path: Path) -> None:
    coordinator = Coordinator()
    assert train(assignment(tmp_path, LossOfHalfPrecision, n_epochs=1), coordinator).error == ""
    assert coordinator.reports[0].metrics["train_loss"] == 10_000.0
    assert not coordinator.reports[0].diverged


def test_users_early_stopping_is_told_apart_from_the_coordinators(tmp_path: Path) -> None:
    ended = train(assignment(tmp_path, Stops, n_epochs=4), Coordinator())
    assert (ended.n_epochs, ended.stopped_by_module, ended.error) == (2, True, "")


def test_train_loss_is_the_epochs_mean_even_if_the_module_logs_the_last_batch(tmp_path: Path) -> None:
    runs = []
    for model in (Net, LogsSteps):
        coordinator = Coordinator()
        train(assignment(tmp_path, model, n_epochs=2), coordinator)
        runs.append(coordinator.comparable)
    assert "train_acc_step" not in runs[1][0]
    assert 0.0 <= runs[1][0]["train_acc"] <= 1.0
    assert runs[1][0]["train_loss"] == pytest.approx(runs[0][0]["train_loss"], rel=0.2)
    options = {"trainer_args": {"accumulate_grad_batches": 4}}
    coordinator = Coordinator()
    train(assignment(tmp_path, assembly=assembly(**options), n_epochs=1), coordinator)
    assert coordinator.comparable[0]["train_loss"] == pytest.approx(runs[0][0]["train_loss"], rel=0.3)


def test_stale_validation_metrics_are_not_reported_again(tmp_path: Path) -> None:
    coordinator = Coordinator()
    made = assembly(trainer_args={"check_val_every_n_epoch": 2})
    train(assignment(tmp_path, assembly=made), coordinator)
    assert ["val_acc" in metrics for metrics in coordinator.comparable] == [False, True, False]
    assert ["gap_acc" in metrics for metrics in coordinator.comparable] == [False, True, False]


@pytest.mark.parametrize(
    ("what", "error"),
    [("value", "ValueError: bad value"), ("exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt")],
)
def test_exceptions_of_user_code_end_the_trial_with_a_traceback(what: str, error: str, tmp_path: Path) -> None:
    made = assembly(Raises, model_args={"what": what})
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert ended.error == error
    assert "training_step" in ended.traceback
    assert (ended.n_epochs, ended.stopped_by_module) == (1, False)


def test_wrong_class_and_empty_data_are_errors_in_words(tmp_path: Path) -> None:
    made = assembly(model_class=f"{__name__}.Nett")
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert "Did you mean 'Net'?" in ended.error
    assert ended.traceback == ""
    made = assembly(trainer_args={"limit_train_batches": 0})
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert "no epoch was trained" in ended.error


def test_refit_trains_on_both_splits_and_keeps_its_weights(tmp_path: Path) -> None:
    coordinator = Coordinator()
    made = assembly(model_args={"schedule": "plateau"})
    ended = train(assignment(tmp_path, assembly=made, merge_validation=True, n_epochs=2), coordinator)
    assert ended.error == ""
    assert ended.notices == ()
    assert set(coordinator.comparable[0]) == {"train_loss", "learning_rate"}
    checkpoint = load_checkpoint(tmp_path / "last.ckpt")
    assert checkpoint["global_step"] == 2 * (64 + 32) // 16
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in checkpoint["state_dict"].items())
    (tmp_path / "weights.pt").unlink()
    train(
        assignment(tmp_path, assembly=made, merge_validation=True, n_epochs=2, resume=True, n_epochs_reported=2),
        Coordinator(),
    )
    assert (tmp_path / "weights.pt").exists()


def test_refit_does_not_stop_early_and_prefers_what_the_data_module_offers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = lambda self: DataLoader(tensors(16, 3), 16)  # noqa: E731
    monkeypatch.setattr(Data, "train_val_dataloader", offered, raising=False)
    ended = train(assignment(tmp_path, Stops, merge_validation=True, n_epochs=4), Coordinator())
    assert (ended.n_epochs, ended.error, ended.stopped_by_module) == (4, "", False)
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4


def test_refit_of_what_cannot_be_joined_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Data, "val_dataloader", lambda self: [DataLoader(tensors(8, seed), 8) for seed in (1, 2)])
    ended = train(assignment(tmp_path, merge_validation=True, n_epochs=1), Coordinator())
    assert ended.error == ""
    assert "train data alone" in ended.notices[0]


def members(tmp_path: Path, model: type, n: int, **changes: Any) -> TestAssignment:
    made = assembly(model, TestedData, **changes)
    directories = [tmp_path / f"refit-seed{seed}" for seed in range(n)]
    for seed, directory in enumerate(directories):
        directory.mkdir(exist_ok=True)
        train(assignment(directory, assembly=made, seed=seed, merge_validation=True), Coordinator())
    TestedData.n_read = 0
    return TestAssignment(
        assembly=made,
        trial_keys=tuple(directory.name for directory in directories),
        directories=tuple(map(str, directories)),
        ensemble=True,
    )


def test_test_split_is_read_once_for_all_members_and_their_ensemble(tmp_path: Path) -> None:
    order = members(tmp_path, WithTestStep, 3)
    result = read_test(order)
    assert (result.error, result.n_samples, result.notices) == ("", 50, ())
    assert TestedData.n_read == 1
    x, y = tensors(50, 2).tensors
    probabilities = []
    for directory, metrics in zip(order.directories, result.members, strict=True):
        net = WithTestStep()
        net.load_state_dict(torch.load(f"{directory}/weights.pt", weights_only=True))
        probabilities.append(net.eval()(x).softmax(1))
        assert metrics["test_acc"] == pytest.approx((probabilities[-1].argmax(1) == y).float().mean().item())
        assert metrics["test_seen"] == 50.0
    mean = torch.stack(probabilities).mean(0)
    assert result.ensemble["test_acc"] == pytest.approx((mean.argmax(1) == y).float().mean().item())
    assert result.ensemble["test_loss"] == pytest.approx(nn.functional.nll_loss(mean.log(), y).item(), rel=1e-5)


def test_test_and_validation_data_may_be_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = {"test_dataloader": tensors(50, 2), "val_dataloader": tensors(32, 1)}
    for name, data in loaders.items():
        monkeypatch.setattr(WithTestStep, name, lambda self, data=data: DataLoader(data, 20))
    changes = {"data_class": f"{__name__}.TrainDataAlone"}
    order = members(tmp_path, WithTestStep, 2, **changes)
    checkpoint = load_checkpoint(Path(order.directories[0]) / "last.ckpt")
    assert checkpoint["global_step"] == 3 * (64 + 32) // 16
    result = read_test(order)
    assert (result.error, result.n_samples, result.notices, len(result.members)) == ("", 50, (), 2)


def test_validation_step_stands_in_for_a_missing_test_step(tmp_path: Path) -> None:
    result = read_test(members(tmp_path, Net, 1))
    assert set(result.members[0]) == {"test_acc", "test_loss"}
    assert result.members[0]["test_acc"] == pytest.approx(result.ensemble["test_acc"])
    assert "validation_step" in result.notices[0]


def test_reading_without_test_data_weights_or_fitting_scores_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = members(tmp_path, Net, 1)
    nothing = read_test(dataclasses.replace(order, assembly=assembly(Net, Data)))
    assert (nothing.members, nothing.error) == ((), "")
    assert "test_dataloader" in nothing.notices[0]
    lost = read_test(dataclasses.replace(order, directories=(str(tmp_path),)))
    assert "there are no weights" in lost.error
    monkeypatch.setattr(TestedData, "test_dataloader", lambda self: DataLoader(tensors(8, 2), 8, collate_fn=_as_dict))
    monkeypatch.setattr(Net, "validation_step", lambda self, batch, batch_idx: self.log("val_n", 1.0))
    odd = read_test(order)
    assert odd.error == ""
    assert odd.ensemble == {}
    assert odd.members == ({"test_n": 1.0},)
    assert any("no ensemble" in notice for notice in odd.notices)


def _as_dict(items: Any) -> Any:
    return {"x": torch.stack([x for x, _ in items])}


class SplitAtRandom(pl.LightningDataModule):
    """Splits its data as many tutorials do: at random, without a generator of its own."""

    splits: ClassVar[list[list[int]]] = []

    def setup(self, stage: str) -> None:
        x = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))
        self.train, self.val = random_split(TensorDataset(x, (x[:, 0] > 0).long()), [32, 16])
        self.splits.append(list(self.train.indices))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=8)


def test_data_that_are_split_at_random_are_split_alike_in_all_trials_of_a_study(tmp_path: Path) -> None:
    SplitAtRandom.splits.clear()
    for seed, data_seed in ((1, 5), (2, 5), (1, 6)):
        made = assembly(data=SplitAtRandom, data_seed=data_seed)
        directory = tmp_path / f"{seed}-{data_seed}"
        directory.mkdir()
        ended = train(assignment(directory, assembly=made, seed=seed, n_epochs=1), Coordinator())
        assert ended.error == ""
    first, same_study, other_study = SplitAtRandom.splits
    assert first == same_study
    assert first != other_study
