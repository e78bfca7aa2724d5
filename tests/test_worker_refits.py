"""Refits in the worker, and the reading of the test split with what they left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from small_training import Coordinator, Data, Net, Stops, assembly, assignment, tensors
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.messages import TestAssignment, TestResult
from search.worker.test_reading import read_test
from search.worker.training import train


class WithTestStep(Net):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())
        self.log("test_seen", float(len(batch[1])), reduce_fx="sum")


class TrainDataAlone(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return Data().train_dataloader()


class TestedData(Data):
    __test__ = False
    n_read = 0

    def test_dataloader(self) -> Any:
        type(self).n_read += 1
        return DataLoader(tensors(50, 2), 20)


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


class Normalized(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net.insert(1, nn.BatchNorm1d(6))


@pytest.mark.parametrize(("n_train", "n_batches"), [(65, 6), (66, 7)])  # with 32 more: 97 and 98 of 16
def test_refit_has_no_last_batch_of_one_sample(n_train: int, n_batches: int, tmp_path: Path) -> None:
    made = assembly(Normalized, data_args={"n_train": n_train})
    ended = train(assignment(tmp_path, assembly=made, merge_validation=True, n_epochs=1), Coordinator())
    assert ended.error == ""
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == n_batches


def test_refit_does_not_stop_early_and_prefers_what_the_data_module_offers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = lambda self: DataLoader(tensors(16, 3), 16)  # noqa: E731
    monkeypatch.setattr(Data, "train_val_dataloader", offered, raising=False)
    ended = train(assignment(tmp_path, Stops, merge_validation=True, n_epochs=4), Coordinator())
    assert (ended.n_epochs, ended.error, ended.stopped_by_module) == (4, "", False)
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4


def test_refit_reads_no_sample_that_a_sampler_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train_dataloader": range(48), "val_dataloader": range(48, 64)}  # of 96, the rest being a test split
    for name, part in parts.items():
        make = lambda self, part=part: DataLoader(tensors(96, 0), 16, sampler=SubsetRandomSampler(part))  # noqa: E731
        monkeypatch.setattr(Data, name, make)
    ended = train(assignment(tmp_path, merge_validation=True, n_epochs=1), Coordinator())
    assert (ended.error, len(ended.notices)) == ("", 1)
    assert "train data alone" in ended.notices[0]
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3


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
    assert sum(map(sum, result.confusion)) == 50
    _check_left_out(result, probabilities, y)
    alone = read_test(replace(order, ensemble=False))
    assert (alone.members, alone.notices) == (result.members, ())
    assert (alone.ensemble, alone.scores, alone.ensembles, alone.left_out) == ({}, (), (), ())
    n_right = sum(row[index] for index, row in enumerate(alone.confusion))
    assert n_right / 50 == pytest.approx(result.members[0]["test_acc"]), "of the first member"


def _check_left_out(result: TestResult, probabilities: list[Tensor], y: Tensor) -> None:
    for index, metrics in enumerate(result.left_out):
        mean = torch.stack([*probabilities[:index], *probabilities[index + 1 :]]).mean(0)
        assert metrics["test_acc"] == pytest.approx((mean.argmax(1) == y).float().mean().item())
    assert len(result.left_out) == 3


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
    nothing = read_test(replace(order, assembly=assembly(Net, Data)))
    assert (nothing.members, nothing.error) == ((), "")
    assert "test_dataloader" in nothing.notices[0]
    lost = read_test(replace(order, directories=(str(tmp_path),)))
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
