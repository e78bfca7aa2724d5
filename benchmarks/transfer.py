"""Digits 5 to 9 from few images: a backbone that knows the digits 0 to 4 against the same network from scratch.

    python benchmarks/transfer.py                          # 50 training images, 12 seeds
    python benchmarks/transfer.py --n-train-images 400 --seeds 10

A seed decides which images are trained on and the weights that are drawn. Each method is trained with each learning
rate; the one with the best mean accuracy on the validation split counts. Of that, the accuracy on the test split is
shown, with the 95 % interval of its mean over the seeds (Student's t), and the gain over training from scratch, paired
by seed.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from digits_backbone import BACKBONE, NAME, quiet_trainer
from numpy.typing import NDArray
from scipy import stats

from lightning_modules import ConvNet, DigitsDataModule, ImageClassifier, TransferNet
from lightning_modules.callbacks.epoch_seeding import seed_all

CLASSES = [5, 6, 7, 8, 9]
N_IMAGES = 627
"""Those of these digits that are not in the test split."""

_SIZES = {"in_channels": 1, "n_classes": len(CLASSES)}


def scratch(learning_rate: float) -> ImageClassifier:
    return ConvNet(**_SIZES, widths=BACKBONE["init_args"]["widths"], learning_rate=learning_rate)


def transfer(depth: int | str) -> Callable[[float], ImageClassifier]:
    def make(learning_rate: float) -> ImageClassifier:
        return TransferNet(**_SIZES, backbone=BACKBONE, weights=NAME, unfreeze_depth=depth, learning_rate=learning_rate)

    return make


METHODS: dict[str, Callable[[float], ImageClassifier]] = {
    "from scratch": scratch,
    "all frozen": transfer(0),
    "last block": transfer(1),
    "all fine-tuned": transfer("all"),
}


def accuracies(
    make: Callable[[float], ImageClassifier], learning_rate: float, *, n_train_images: int, seed: int, max_epochs: int
) -> tuple[float, float]:
    """Train once; returns the accuracy on the validation and on the test split, in [0, 1]."""
    data = DigitsDataModule(classes=CLASSES, val_share=1.0 - n_train_images / N_IMAGES, split_seed=seed, batch_size=16)
    seed_all(seed)
    net = make(learning_rate)
    trainer = quiet_trainer(max_epochs=max_epochs)
    trainer.fit(net, datamodule=data)
    test = trainer.test(net, datamodule=data, verbose=False)[0]["test_acc"]
    trainer.limit_val_batches = 1.0
    return trainer.validate(net, datamodule=data, verbose=False)[0]["val_acc"], test


def interval(values: NDArray[np.float64]) -> str:
    """Mean and half-width of its 95 % interval, in per cent."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():6.2f} +- {100 * half:.2f}"


def measured(
    name: str, rates: Sequence[float], *, n_train_images: int, seeds: int, max_epochs: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the learning rate that is best on validation images, and its test accuracies by seed."""
    by_rate = {
        rate: np.array(
            [
                accuracies(METHODS[name], rate, n_train_images=n_train_images, seed=seed, max_epochs=max_epochs)
                for seed in range(seeds)
            ]
        )
        for rate in rates
    }
    best = max(rates, key=lambda rate: by_rate[rate][:, 0].mean())
    return best, by_rate[best][:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-train-images", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    arguments = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(f"{arguments.n_train_images} training images, {arguments.seeds} seeds, {arguments.max_epochs} epochs")
    print("method          learning rate   test accuracy, %   gain over scratch, points")
    reference = None
    for name in METHODS:
        rate, found = measured(
            name,
            arguments.learning_rates,
            n_train_images=arguments.n_train_images,
            seeds=arguments.seeds,
            max_epochs=arguments.max_epochs,
        )
        reference = found if reference is None else reference
        gain = "" if name == "from scratch" else interval(found - reference)
        print(f"{name:<15} {rate:<15g} {interval(found):<18} {gain}", flush=True)


if __name__ == "__main__":
    main()
