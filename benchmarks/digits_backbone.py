"""Train a backbone on the digits 0 to 4, and write the weights that the built-in study `digits-transfer` begins with.

    python benchmarks/digits_backbone.py                  # lightning_modules/pretrained/digits-0-to-4.pt, in seconds

On one machine the same commit writes the same weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytorch_lightning as pl

from lightning_modules import ConvNet, DigitsDataModule, pretrained
from lightning_modules.callbacks.epoch_checkpoint import save_weights
from lightning_modules.callbacks.epoch_seeding import seed_all

CLASSES = [0, 1, 2, 3, 4]
NAME = "digits-0-to-4"
BACKBONE = {"class_path": "lightning_modules.ConvNet", "init_args": {"widths": [16, 32]}}


def trained_net(*, seed: int = 0, max_epochs: int = 20) -> tuple[ConvNet, float]:
    """Train the network; returns it and its accuracy on the test split, in [0, 1]."""
    seed_all(seed)
    net = ConvNet(in_channels=1, n_classes=len(CLASSES), widths=BACKBONE["init_args"]["widths"])
    trainer = quiet_trainer(max_epochs=max_epochs)
    data = DigitsDataModule(classes=CLASSES)
    trainer.fit(net, datamodule=data)
    return net, trainer.test(net, datamodule=data, verbose=False)[0]["test_acc"]


def quiet_trainer(*, max_epochs: int) -> pl.Trainer:
    """A trainer on the CPU that writes nothing and evaluates nothing while it trains."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(pretrained.__file__).with_name(f"{NAME}.pt"))
    arguments = parser.parse_args()
    net, accuracy = trained_net()
    save_weights(arguments.out, net.network.state_dict())
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, test accuracy {accuracy:.4f} on the digits 0 to 4")


if __name__ == "__main__":
    main()
