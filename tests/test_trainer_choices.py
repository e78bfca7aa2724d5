"""Clipping, accumulation and precision of a study file's ``trainer:`` section, in a trial of `ImageClassifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_images import Images
from small_training import Coordinator, assembly, assignment
from torch import Tensor

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from lightning_modules.conv_net import ConvNet
from search.messages import Inspect
from search.worker.inspection import inspect_assembly
from search.worker.training import train

SGD = {
    "in_channels": 1,
    "n_classes": 3,
    "widths": [4],
    "norm": "none",
    "dropout": 0.0,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "learning_rate": 0.5,
    "lr_schedule": "constant",
}


def assembled(*, batch_size: int = 30, learning_rate: float = 0.5, **trainer_args: Any) -> Any:
    return assembly(
        ConvNet,
        Images,
        model_args=SGD | {"learning_rate": learning_rate},
        data_args={"batch_size": batch_size},
        trainer_args=trainer_args,
    )


def after_an_epoch(directory: Path, **changes: Any) -> tuple[Tensor, dict[str, float]]:
    """All weights in one row, and the epoch's metrics."""
    directory.mkdir()
    coordinator = Coordinator()
    ended = train(assignment(directory, assembly=assembled(**changes), n_epochs=1), coordinator)
    assert ended.error == ""
    state = load_checkpoint(directory / "last.ckpt")["state_dict"]
    assert {value.dtype for value in state.values()} == {torch.float32}
    return torch.cat([value.flatten() for value in state.values()]), coordinator.comparable[0]


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    start, _ = after_an_epoch(tmp_path / "start", learning_rate=1e-30)
    free, _ = after_an_epoch(tmp_path / "free")
    clipped, _ = after_an_epoch(tmp_path / "clipped", gradient_clip_val=0.01)
    assert (free - start).norm().item() > 0.02
    assert (clipped - start).norm().item() == pytest.approx(0.5 * 0.01, rel=1e-4)


def test_accumulated_batches_are_one_batch(tmp_path: Path) -> None:
    whole, of_whole = after_an_epoch(tmp_path / "whole")
    parts, of_parts = after_an_epoch(tmp_path / "parts", batch_size=10, accumulate_grad_batches=3)
    torch.testing.assert_close(parts, whole)
    assert of_parts == pytest.approx(of_whole, rel=1e-5)
    separate, _ = after_an_epoch(tmp_path / "separate", batch_size=10)
    assert not torch.allclose(separate, whole, atol=1e-3)


def test_mixed_precision_rounds_what_the_network_computes_and_not_its_weights(tmp_path: Path) -> None:
    _, exact = after_an_epoch(tmp_path / "exact")
    _, rounded = after_an_epoch(tmp_path / "rounded", precision="bf16-mixed")
    assert rounded["train_loss"] != exact["train_loss"]
    assert rounded["train_loss"] == pytest.approx(exact["train_loss"], rel=0.02)
    assert rounded["val_loss"] == pytest.approx(exact["val_loss"], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which has it")
@pytest.mark.parametrize("precision", ["16-mixed", 16])
def test_half_precision_is_refused_without_a_gpu(precision: str | int, tmp_path: Path) -> None:
    found = inspect_assembly(Inspect(assembly=assembled(precision=precision), searched=()))
    assert found.error_key == "trainer.precision"
    assert "must have a GPU, but trials train on CPU" in found.error
    assert "say 'bf16-mixed'" in found.error


def test_lbfgs_is_refused_in_the_dry_run_where_it_has_batches_or_accumulates() -> None:
    made = assembly(ConvNet, Images, model_args=SGD | {"optimizer": "lbfgs"}, data_args={"batch_size": 10})
    found = inspect_assembly(Inspect(assembly=made, searched=()))
    assert (
        "`optimizer` 'lbfgs' takes each step on the whole train set at once, but an epoch has 3 batches" in found.error
    )
    made = assembly(
        ConvNet,
        Images,
        model_args=SGD | {"optimizer": "lbfgs"},
        data_args={"batch_size": 30},
        trainer_args={"accumulate_grad_batches": 2},
    )
    assert "`accumulate_grad_batches` is 2" in inspect_assembly(Inspect(assembly=made, searched=())).error
