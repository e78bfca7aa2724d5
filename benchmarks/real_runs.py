"""Runs of searches by real training: what is asked for, what is recorded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quality_methods import version_of
from quality_surface import draw_seed
from real_searches import MONITOR, search
from real_trainings import RealTrainings


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One search to be made.

    Attributes:
        task: What is trained.
        method: Who searches.
        seed: Of the data's splits and of the search; the same for all methods.
        n_epochs: Epochs of a full training.
        budget_epochs: Epochs of the search.
    """

    task: str
    method: str
    seed: int
    n_epochs: int
    budget_epochs: int

    def __str__(self) -> str:
        return f"{self.method} {self.task} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A search that was made; what is told of the winner is told of the weights after its best epoch.

    Attributes:
        setting: Of it.
        test_acc: The winner's on the test split, which was read for nothing else.
        val_acc: The winner's on the validation split, by which it was chosen.
        gap_acc: The winner's accuracy on train images less that on validation images.
        n_spent: Epochs trained.
        n_trainings: Trainings begun.
        wall_seconds: Of the search, without reading the test split.
        cpu_seconds: Likewise, of this process.
        training_seconds: Part of `wall_seconds` in which epochs were trained.
        improvements: Epochs spent at each new winner, and its `val_acc`.
        best_epoch: The winner's.
        model_args: The winner's hyperparameters and the constants beside them.
        version: Of the method's package.
    """

    setting: Setting
    test_acc: float
    val_acc: float
    gap_acc: float
    n_spent: int
    n_trainings: int
    wall_seconds: float
    cpu_seconds: float
    training_seconds: float
    improvements: tuple[tuple[int, float], ...]
    best_epoch: int
    model_args: Mapping[str, Any]
    version: str

    def __str__(self) -> str:
        return f"test {self.test_acc:.4f}, val {self.val_acc:.4f}, {self.n_spent} epochs in {self.wall_seconds:.0f} s"


def make_run(setting: Setting) -> Run:
    """Search, then read the winner's test accuracy."""
    with tempfile.TemporaryDirectory() as directory:
        trainings = RealTrainings(budget_epochs=setting.budget_epochs, monitor=MONITOR, directory=Path(directory))
        wall, cpu = time.perf_counter(), time.process_time()
        search(
            setting.method,
            setting.task,
            trainings,
            n_epochs=setting.n_epochs,
            budget_epochs=setting.budget_epochs,
            seed=draw_seed(setting.task, setting.seed),
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        winner = trainings.winner
        return Run(
            setting=setting,
            test_acc=trainings.read_winners_test()["test_acc"],
            val_acc=winner.metrics[MONITOR],
            gap_acc=winner.metrics["gap_acc"],
            n_spent=trainings.n_spent,
            n_trainings=trainings.n_begun,
            wall_seconds=round(wall, 3),
            cpu_seconds=round(cpu, 3),
            training_seconds=round(trainings.training_seconds, 3),
            improvements=tuple(trainings.improvements),
            best_epoch=winner.epoch,
            model_args=winner.assignment.assembly.model_args,
            version=version_of(setting.method),
        )
