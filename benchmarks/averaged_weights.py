"""What averages of weights are worth on the digits, and what becomes of batch normalization in them.

    python benchmarks/averaged_weights.py

trains a `ConvNet` on the digits for 16 epochs with each of three learning rates, over three seeds, and prints the
validation loss and accuracy of its weights and of their averages: with a constant decay and with the growing one that
`weight_averaging: ema` has, with the statistics of batch normalization averaged like the weights and measured anew.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_modules import ConvNet, DigitsDataModule
from lightning_modules.training.batch_norm_statistics import measure_batch_norm
from lightning_modules.training.learning_rate_schedules import learning_rate_ratio
from lightning_modules.training.weight_averaging import WeightAveragingSettings, ema_decay_at, swa_averages

N_EPOCHS = 16
SHOWN_EPOCHS = (2, 4, 8, 16)
SETTINGS = WeightAveragingSettings(name="ema")
TRAININGS = ((0.1, "constant"), (0.3, "constant"), (0.1, "cosine"))

Batches = Iterable[tuple[Tensor, Tensor]]


def main() -> None:
    """Train, and print a table for each learning rate."""
    for learning_rate, schedule in TRAININGS:
        found: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
        for seed in range(3):
            for key, scores in train(learning_rate, schedule, seed).items():
                found[key].append(scores)
        print(f"\nlearning rate {learning_rate}, {schedule}; means over 3 seeds")
        print(f"epoch  {'weights':34s} val_loss  val_acc")
        for (epoch, name), scores in sorted(found.items()):
            loss, acc = (statistics.fmean(each) for each in zip(*scores, strict=True))
            print(f"{epoch:5d}  {name:34s} {loss:8.4f}  {acc:7.4f}")


def train(learning_rate: float, schedule: str, seed: int) -> dict[tuple[int, str], tuple[float, float]]:
    """Train once; returns loss and accuracy by epoch and kind of weights."""
    torch.manual_seed(seed)
    data = DigitsDataModule(max_shift=1)
    net = ConvNet(in_channels=1, n_classes=10).network
    train_batches, validation = data.train_dataloader(), data.val_dataloader()
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    n_steps = N_EPOCHS * len(train_batches)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_ratio(step / n_steps, shape=schedule, decay=0.01)
    )
    averages = {
        "ema, constant decay": AveragedModel(
            net, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(SETTINGS.ema_decay)
        ),
        "ema": AveragedModel(net, use_buffers=True, multi_avg_fn=grown_average),
        "swa": AveragedModel(net, use_buffers=True),
    }
    found = {}
    for epoch in range(1, N_EPOCHS + 1):
        net.train()
        for images, labels in train_batches:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            rate.step()
            for name in ("ema, constant decay", "ema"):
                averages[name].update_parameters(net)
        if swa_averages(epoch, max_epochs=N_EPOCHS, start=SETTINGS.swa_start):
            averages["swa"].update_parameters(net)
        if epoch in SHOWN_EPOCHS:
            found[epoch, "own"] = evaluated(net, validation)
            for name, average in averages.items():
                if average.n_averaged:
                    found[epoch, f"{name}, BN averaged"] = evaluated(average.module, validation)
                    measured = copy.deepcopy(average.module).train()
                    measure_batch_norm(measured, [images for images, _ in data.train_eval_dataloader()])
                    found[epoch, f"{name}, BN measured"] = evaluated(measured, validation)
    return found


def grown_average(averaged: list[Tensor], current: list[Tensor], n_averaged: Any) -> None:
    """Move an average as `weight_averaging: ema` does."""
    decay = ema_decay_at(int(n_averaged), decay=SETTINGS.ema_decay)
    get_ema_multi_avg_fn(decay)(averaged, current, n_averaged)


@torch.no_grad()
def evaluated(network: nn.Module, batches: Batches) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy."""
    network.eval()
    loss, n_right, n = 0.0, 0, 0
    for images, labels in batches:
        logits = network(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        n_right += int((logits.argmax(dim=1) == labels).sum())
        n += len(labels)
    return (loss / n, n_right / n) if n else (math.nan, math.nan)


if __name__ == "__main__":
    main()
