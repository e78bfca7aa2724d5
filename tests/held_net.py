"""A module whose training can be held up from outside, and which notes the epochs that it really trained."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lightning_modules import ConvNet


class HeldNet(ConvNet):
    """Waits before any epoch but the first for as long as the file ``hold`` is in the working directory.

    Notes beside the checkpoint, in ``trained.txt`` every epoch that it has trained and in ``held_by.txt`` the process
    that waits or has waited.
    """

    def on_train_epoch_start(self) -> None:
        if self.current_epoch >= 1:
            (Path(self.trainer.default_root_dir) / "held_by.txt").write_text(str(os.getpid()))
        while self.current_epoch >= 1 and Path("hold").exists():
            time.sleep(0.02)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        with (Path(self.trainer.default_root_dir) / "trained.txt").open("a") as file:
            file.write(f"{self.current_epoch + 1}\n")
