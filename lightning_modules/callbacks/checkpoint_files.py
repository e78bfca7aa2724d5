"""The files that `EpochCheckpoint` and its companions write; importing this costs no torch import."""

from __future__ import annotations

import shutil
from pathlib import Path

CHECKPOINT_NAME = "last.ckpt"
"""Everything that training needs to go on after its last finished epoch."""

PREVIOUS_CHECKPOINT_NAME = "previous.ckpt"
"""The one before, for when the last one turns out to be damaged."""

WEIGHTS_NAME = "weights.pt"
"""The module's ``state_dict`` alone, at the end of training."""

SNAPSHOTS_NAME = "snapshots.pt"
"""Further state dicts of the same training, by epoch or step; written only where they are to be kept."""


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint if it is there; some strategies (DeepSpeed) make a directory of it. Of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
