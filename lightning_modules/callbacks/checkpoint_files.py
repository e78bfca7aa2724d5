"""Names of the files that `EpochCheckpoint` and its companions write; importing them costs no torch import."""

from __future__ import annotations

CHECKPOINT_NAME = "last.ckpt"
"""Everything that training needs to go on after its last finished epoch."""

PREVIOUS_CHECKPOINT_NAME = "previous.ckpt"
"""The one before, for when the last one turns out to be damaged."""

WEIGHTS_NAME = "weights.pt"
"""The module's ``state_dict`` alone, at the end of training."""
