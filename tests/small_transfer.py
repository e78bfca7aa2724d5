"""A small trained network, its weights on disk, and trainings on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import TensorDataset

from lightning_modules import ConvNet, TensorLoader, TransferNet

SOURCE: dict[str, Any] = {"widths": [4, 6, 8], "hidden_width": 5}
BACKBONE: dict[str, Any] = {"class_path": "lightning_modules.ConvNet", "init_args": SOURCE}
BLOCKS = ["features.0", "features.1", "features.2", "classifier.1"]
HEAD = "classifier.4"


def source_net(**changed: Any) -> ConvNet:
    """A network of three classes whose weights and statistics are nobody's defaults."""
    torch.manual_seed(3)
    net = ConvNet(**({"in_channels": 1, "n_classes": 3, **SOURCE} | changed))
    with torch.no_grad():
        for tensor in net.network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape).abs() if tensor.is_floating_point() else torch.tensor(7))
    return net


def weights_at(path: Path, **changed: Any) -> str:
    """Write the state dict of its network."""
    torch.save(source_net(**changed).network.state_dict(), path)
    return str(path)


def transfer_net(weights: str, **changed: Any) -> TransferNet:
    """A network of four classes on that backbone."""
    torch.manual_seed(4)
    arguments: dict[str, Any] = {"in_channels": 1, "n_classes": 4, "backbone": BACKBONE, "weights": weights}
    if "freeze_up_to" not in changed and "n_train_images" not in changed:
        arguments["unfreeze_depth"] = "all"
    return TransferNet(**(arguments | changed))


def make_loader() -> TensorLoader:
    """Noise in four classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 8, 8, generator=generator)
    return TensorLoader(TensorDataset(images, torch.randint(4, (24,), generator=generator)), batch_size=8, shuffle=True)


class SeedEachEpoch(pl.Callback):
    """Makes an epoch's random numbers depend on its number alone, as whoever resumes a training must."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        torch.manual_seed(1000 + trainer.current_epoch)


def fit(
    net: TransferNet, *callbacks: pl.Callback, max_epochs: int, checkpoint: Path | None = None, **trainer_args: Any
) -> pl.Trainer:
    """Train, and return the trainer."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[SeedEachEpoch(), *callbacks],
        **trainer_args,
    )
    loader = make_loader()
    trainer.fit(net, loader, loader, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer
