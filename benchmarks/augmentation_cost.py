"""What augmentation costs: the time of a training batch with each technique, against one that was prepared once.

Both on the CPU with one thread; and, to judge it by, against a training step of the default `ConvNet` on such a batch.

    python benchmarks/augmentation_cost.py --batch-size 64
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_modules import ConvNet, ImageDataModule
from lightning_modules.data.image_data import LabelledImages

N_CLASSES = 10
N_REPEATS = 15
N_BATCHES = 20

GREY: dict[str, dict[str, Any]] = {
    "flip": {"flip_probability": 0.5},
    "rotation and scale": {"max_rotation": 15.0, "max_scale": 0.2},
    "shift": {"max_shift": 2},
    "brightness": {"max_brightness": 0.4},
    "contrast": {"max_contrast": 0.4},
    "cutout": {"cutout_size": 4},
    "mixup": {"mixup_alpha": 0.2},
}
COLOUR = {**GREY, "saturation and hue": {"max_saturation": 0.4, "max_hue": 20.0}}


class Noise(ImageDataModule):
    """Random images of 8-bit integers, or of the same values in 32 bits, which are prepared once."""

    def __init__(self, *, shape: tuple[int, int, int], in_8_bits: bool = True, **image_data: Any) -> None:
        super().__init__(**image_data)
        generator = np.random.default_rng(0)
        n = 3 * N_BATCHES * self.batch_size
        images = generator.integers(256, size=(n, *shape), dtype=np.uint8)
        self._loaded = LabelledImages(
            images=images if in_8_bits else images.astype(np.float32), labels=np.arange(n) % N_CLASSES
        )

    def load(self) -> LabelledImages:
        return self._loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64, help="images of a batch")
    batch_size = parser.parse_args().batch_size
    torch.set_num_threads(1)
    print(f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, one thread, {batch_size} a batch")
    for shape, settings in (((1, 8, 8), GREY), ((3, 32, 32), COLOUR)):
        report(shape, settings, batch_size=batch_size)


def report(shape: tuple[int, int, int], settings: dict[str, dict[str, Any]], *, batch_size: int) -> None:
    together = {name: value for each in settings.values() for name, value in each.items()}
    runs: dict[str, Callable[[], None]] = {"training step": training_steps(shape, batch_size=batch_size)}
    for name, strengths in {"plain": {"in_8_bits": False}, "8 bits": {}, **settings, "all of them": together}.items():
        runs[name] = batches(Noise(shape=shape, batch_size=batch_size, **strengths))
    seconds = {name: float("inf") for name in runs}
    for _ in range(N_REPEATS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name] = min(seconds[name], (time.process_time() - start) / N_BATCHES)
    step = seconds.pop("training step")
    print(f"\nimages of {'x'.join(map(str, shape))}; a training step takes {1e3 * step:.2f} ms")
    print("batch              ms       x plain  share of a step")
    for name, taken in seconds.items():
        print(f"{name:18} {1e3 * taken:7.3f}  {taken / seconds['plain']:7.1f}  {taken / step:7.1%}")


def batches(data: Noise) -> Callable[[], None]:
    """Return what reads `N_BATCHES` training batches."""
    loader = data.train_dataloader()

    def run() -> None:
        for _, _batch in zip(range(N_BATCHES), loader, strict=False):
            pass

    return run


def training_steps(shape: tuple[int, int, int], *, batch_size: int) -> Callable[[], None]:
    """Return what runs `N_BATCHES` steps of SGD on one batch."""
    network = ConvNet(in_channels=shape[0], n_classes=N_CLASSES).network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images, labels = torch.randn(batch_size, *shape), torch.arange(batch_size) % N_CLASSES

    def run() -> None:
        for _ in range(N_BATCHES):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()

    return run


if __name__ == "__main__":
    main()
