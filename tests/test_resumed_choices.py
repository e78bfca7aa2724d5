"""A trial that is paused and resumed trains as if it had not been, whatever its optimizer, schedule and precision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_images import Images
from small_training import Coordinator, assembly, assignment

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from lightning_modules.conv_net import ConvNet
from search.messages import Action
from search.worker.training import train

HORIZON_EPOCHS = 5  # of which 3 are trained


def made(*, batch_size: int = 10, trainer_args: dict[str, Any] | None = None, **model_args: Any) -> Any:
    small = {"in_channels": 1, "n_classes": 3, "widths": [4], "dropout": 0.3, "learning_rate": 0.02}
    return assembly(
        ConvNet,
        Images,
        model_args=small | model_args,
        data_args={"batch_size": batch_size},
        trainer_args=trainer_args or {},
    )


def trained(directory: Path, assembled: Any, *, pauses: bool = False, **changes: Any) -> Coordinator:
    """Train 3 epochs, in as many pieces if `pauses`."""
    directory.mkdir()
    coordinator = Coordinator({1: Action.PAUSE, 2: Action.PAUSE} if pauses else {})
    for done in range(3 if pauses else 1):
        ended = train(
            assignment(
                directory,
                assembly=assembled,
                resume=done > 0,
                n_epochs_reported=done,
                horizon_epochs=HORIZON_EPOCHS,
                **changes,
            ),
            coordinator,
        )
        assert ended.error == ""
    return coordinator


CHOICES: dict[str, dict[str, Any]] = {
    "annealed momentum": {"optimizer": "nesterov", "momentum": 0.5, "final_momentum": 0.99},
    "warm-up": {"optimizer": "adam", "warmup_epochs": 1.5, "lr_schedule": "cyclic", "lr_cycles": 2},
    "plateau": {
        "optimizer": "rmsprop",
        "learning_rate": 1e-9,
        "lr_schedule": "plateau",
        "lr_patience_epochs": 1,
        "warmup_epochs": 0.5,
        "norm": "none",
        "dropout": 0.0,
    },
    "plateau of validation": {
        "optimizer": "adagrad",
        "learning_rate": 1e-9,
        "lr_schedule": "plateau",
        "lr_patience_epochs": 1,
        "lr_monitor": "val_loss",
        "norm": "none",
    },
    "L-BFGS": {"optimizer": "lbfgs", "batch_size": 30, "learning_rate": 1.0, "lbfgs_max_iter": 4},
    "accumulation and clipping": {
        "optimizer": "adamw",
        "trainer_args": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
    },
    "bf16-mixed": {"optimizer": "sgd", "trainer_args": {"precision": "bf16-mixed"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_paused_and_resumed_equals_uninterrupted(choice: str, tmp_path: Path) -> None:
    assembled = made(**CHOICES[choice])
    whole = trained(tmp_path / "whole", assembled)
    parts = trained(tmp_path / "parts", assembled, pauses=True)
    assert parts.comparable == whole.comparable
    ends = [load_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "parts")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    start = trained(tmp_path / "other", made(**CHOICES[choice]), seed=6)
    assert start.comparable != whole.comparable


def rates(coordinator: Coordinator) -> list[float]:
    return [report.metrics["learning_rate"] for report in coordinator.reports]


@pytest.mark.slow
def test_learning_rate_of_an_epoch_is_that_of_its_first_step(tmp_path: Path) -> None:
    plateau = trained(tmp_path / "plateau", made(**CHOICES["plateau of validation"] | {"lr_decay": 1e-3}))
    assert rates(plateau) == pytest.approx([1e-9, 1e-9, 1e-10])
    warm = trained(tmp_path / "warm", made(**CHOICES["warm-up"]))  # 3 steps an epoch, of 15; 4 of them to warm up
    ratio = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * 4.0 / 11.0))  # after 2 of 11 steps, in the first of 2 cycles
    assert rates(warm) == pytest.approx([0.02 / 5.0, 0.02 * 4.0 / 5.0, 0.02 * ratio])
