"""A module whose trials misbehave in every way that a study must survive, each in its second epoch."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from small_training import Data, Net, tensors
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

FAULTS_VARIABLE = "FAULTS_OF_TRIALS"
"""JSON of fault by trial; see `FaultyNet`."""

ONCE = ("sigkill", "sigsegv", "sigstop", "fork", "deadlock", "loader_deadlock", "out_of_memory")
"""Faults that take the worker, the first time that the trial comes to them."""


class Endless(Dataset[Any]):
    """Its loader worker never yields."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        time.sleep(600.0)
        raise AssertionError


class StuckTestData(Data):
    """Its test loader never yields, the first time that it is made: there is no file `made` then."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self._made = Path(made)

    def test_dataloader(self) -> Any:
        if self._made.exists():
            return DataLoader(tensors(50, 2), 20)
        self._made.touch()
        return DataLoader(Endless(), num_workers=1)


class FaultyNet(Net):
    """Notes each epoch that begins, in ``begun.txt``, and does what the environment says of its trial.

    Faults: those of `ONCE`; ``raise``, ``exit`` and ``nan``, which happen whenever they are come to; ``flood``.
    """

    def on_train_epoch_start(self) -> None:
        with (self._directory / "begun.txt").open("a") as file:
            file.write(f"{self.current_epoch + 1}\n")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        fault = json.loads(os.environ[FAULTS_VARIABLE]).get(self._directory.name, "")
        if self.current_epoch != 1 or batch_idx != 2 or self.trainer.max_epochs == 100:
            return loss
        if fault == "flood":
            for _ in range(30):
                print("flood " * 200_000)  # noqa: T201
        elif fault == "raise":
            raise ValueError("no such layer")
        elif fault == "exit":
            sys.exit(3)
        elif fault == "nan":
            return loss * math.nan
        elif fault in ONCE and not (self._directory / "happened").exists():
            (self._directory / "happened").touch()
            _take_worker(fault)
        return loss

    @property
    def _directory(self) -> Path:
        return Path(self.trainer.default_root_dir)


def _take_worker(fault: str) -> None:
    if fault in ("sigkill", "sigsegv", "sigstop"):
        os.kill(os.getpid(), getattr(signal, fault.upper()))
    elif fault == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif fault == "loader_deadlock":
        next(iter(DataLoader(Endless(), num_workers=1)))
    elif fault == "out_of_memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    elif fault == "fork":
        if os.fork() == 0:
            time.sleep(600.0)
        os._exit(9)
