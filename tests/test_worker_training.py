"""One trial in the worker, called in this process: reports, decisions, checkpoints, errors."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from small_training import Coordinator, Net, Stops, assembly, assignment
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.messages import Action
from search.worker.training import train


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
    assert coordinator.diverged() == [False, False, False]
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


def test_users_early_stopping_is_told_apart_from_the_coordinators(tmp_path: Path) -> None:
    ended = train(assignment(tmp_path, Stops, n_epochs=4), Coordinator())
    assert (ended.n_epochs, ended.stopped_by_module, ended.error) == (2, True, "")


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
    made = assembly(model_class=f"{Net.__module__}.Nett")
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert "Did you mean 'Net'?" in ended.error
    assert ended.traceback == ""
    made = assembly(trainer_args={"limit_train_batches": 0})
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert "no epoch was trained" in ended.error


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
