"""The weights at the end of a fit, whatever a strategy does to keep them in pieces."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class FinalWeights(Callback):
    """Asks the strategy for the module's state when a fit of several processes ends; sharded weights are put together.

    Attributes:
        weights: The state dict, on rank 0 at least; empty before the end, and for a single process.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            self.weights = trainer.strategy.lightning_module_state_dict()
