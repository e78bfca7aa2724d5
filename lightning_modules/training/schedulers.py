"""torch schedulers for Lightning, from the settings of a learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from lightning_modules.arguments import ArgumentError, check_choice, check_count, check_number
from lightning_modules.training.learning_rate_schedules import (
    N_PLATEAUS,
    SHAPES,
    learning_rate_ratio,
    warmed_up_ratio,
)

PLATEAU = "plateau"
"""Name of the schedule that goes by what has been learned, not by time."""

CYCLIC = "cyclic"
"""Name of the schedule that begins again."""

SCHEDULES: tuple[str, ...] = (*SHAPES, PLATEAU)
"""Names of the schedules."""

MONITORS: tuple[str, ...] = ("train_loss", "val_loss")
"""Losses that `plateau` can go by."""

_ROUNDING = 1e-12
_SMALLEST_IMPROVEMENT = 0.01
"""Of the best loss so far; less does not count as learning any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """A schedule's name and hyperparameters; what a schedule does not know, it ignores.

    Attributes:
        name: One of the shapes of `learning_rate_ratio`, or ``plateau``: whenever the loss `monitor` has been for
            `patience_epochs` epochs no lower than its best by 1 % of it, the learning rate falls, each time by the
            factor that the ``step`` shape has, until it is at `decay`.
        decay: Final learning rate / initial one, in ``(0, 1]``; without effect if the schedule is constant.
        n_cycles: Of ``cyclic``, >= 1.
        warmup_epochs: Length of a linear warm-up before any of them, >= 0, in epochs or parts of them.
        monitor: Of ``plateau``: ``train_loss``, of the training epoch as it went, or ``val_loss``.
        patience_epochs: Of ``plateau``, >= 1.

    Source:
        plateau: CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Annealing the learning rate"
        (watch the error at a fixed learning rate, and reduce it when it stops improving); He et al. 2016, "Deep
        Residual Learning for Image Recognition" (arXiv 1512.03385), section 3.4.
    """

    name: str
    decay: float
    n_cycles: int = 4
    warmup_epochs: float = 0.0
    monitor: str = "train_loss"
    patience_epochs: int = 5

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.name, name="lr_schedule", choices=SCHEDULES)
        check_number(self.decay, name="lr_decay", low=0.0, high=1.0, includes_low=False, includes_high=True)
        check_count(self.n_cycles, name="lr_cycles", at_least=1)
        check_number(self.warmup_epochs, name="warmup_epochs", low=0.0, includes_low=True)
        check_choice(self.monitor, name="lr_monitor", choices=MONITORS)
        check_count(self.patience_epochs, name="lr_patience_epochs", at_least=1)

    @property
    def depends_on_time(self) -> bool:
        """Whether the learning rate of a step depends on how many steps there will be."""
        return self.name not in ("constant", PLATEAU)


def make_schedulers(
    optimizer: Optimizer, settings: ScheduleSettings, *, n_steps: float, max_epochs: int
) -> list[dict[str, Any]]:
    """Build what moves the learning rate of all of an optimizer's groups alike, each from its own initial one.

    Args:
        optimizer: Not stepped yet.
        settings: Of the schedule.
        n_steps: Of the whole training; infinite where nobody knows, which only a constant schedule or a plateau's,
            without warm-up, can do with.
        max_epochs: Of the whole training, less than 1 where nobody knows.

    Returns:
        Lightning's configurations, none of them for a constant learning rate.

    Raises:
        ValueError: If the warm-up does not end before the training does, or the length is needed and not known.
    """
    if settings.depends_on_time:
        check_length(n_steps, needed_by=f"`lr_schedule` {settings.name!r} spans the whole training")
    n_warmup_steps = _n_warmup_steps(settings, n_steps=n_steps, max_epochs=max_epochs)
    if settings.name == PLATEAU:
        return _plateau(optimizer, settings, n_warmup_steps=n_warmup_steps)
    if settings.name == "constant" and not n_warmup_steps:
        return []

    def ratio(progress: float) -> float:
        return learning_rate_ratio(progress, shape=settings.name, decay=settings.decay, n_cycles=settings.n_cycles)

    def ratio_of_step(step: int) -> float:
        return warmed_up_ratio(step, n_steps=n_steps, n_warmup_steps=n_warmup_steps, ratio=ratio)

    return [{"scheduler": LambdaLR(optimizer, ratio_of_step), "interval": "step"}]


def cycle_ends(settings: ScheduleSettings, *, n_steps: float, max_epochs: int) -> tuple[int, ...]:
    """Return after how many steps each cycle of ``cyclic`` has ended, rising, the last after all; others have none.

    Args:
        settings: Of the schedule.
        n_steps: As for `make_schedulers`.
        max_epochs: Likewise.

    Raises:
        ValueError: If the length is needed and not known.
    """
    if settings.name != CYCLIC:
        return ()
    n_warmup_steps = _n_warmup_steps(settings, n_steps=n_steps, max_epochs=max_epochs)
    lengths = (index * (n_steps - n_warmup_steps) / settings.n_cycles for index in range(1, settings.n_cycles + 1))
    # Of more cycles than steps, some end at the same one. What rounding adds to a whole number is no further step.
    ends = (n_warmup_steps + math.ceil(length * (1.0 - _ROUNDING)) for length in lengths)
    return tuple(dict.fromkeys(ends))


def check_length(n_steps: float, *, needed_by: str) -> None:
    """Require that the length of the training is known.

    Args:
        n_steps: What the Trainer knows; infinite, or not positive, where it does not.
        needed_by: What needs it, with its value; begins the error.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < n_steps < math.inf:
        raise ArgumentError(
            f"{needed_by}, but the Trainer has no number of steps: set `max_epochs` and give a train dataloader with a "
            "length, or do without."
        )


def check_monitored(configurations: Iterable[Any], *, there_are: Collection[str]) -> None:
    """Require that what a plateau goes by is there.

    Args:
        configurations: Lightning's, of the Trainer; one that is not `strict` does without.
        there_are: Names of the metrics that an epoch has.

    Raises:
        ValueError: If it is not.
    """
    for each in configurations:
        if isinstance(each.scheduler, ReduceLROnPlateau) and each.strict and each.monitor not in there_are:
            raise ArgumentError(
                f"`lr_monitor` must be a loss that every epoch has, but got {each.monitor!r}, and an epoch has none: it"
                f" has {', '.join(sorted(there_are))}. Give the Trainer validation data and validate after every epoch"
                " (`check_val_every_n_epoch` 1), or take 'train_loss'."
            )


def _n_warmup_steps(settings: ScheduleSettings, *, n_steps: float, max_epochs: int) -> int:
    if settings.warmup_epochs == 0.0:
        return 0
    needed_by = f"`warmup_epochs` {settings.warmup_epochs!r} is a part of the whole training"
    check_length(n_steps if max_epochs >= 1 else math.inf, needed_by=needed_by)
    n_warmup_steps = max(round(settings.warmup_epochs * n_steps / max_epochs), 1)
    if n_warmup_steps >= n_steps:
        raise ArgumentError(
            f"`warmup_epochs` must be less than the {max_epochs} epochs of the whole training, but got"
            f" {settings.warmup_epochs!r}."
        )
    return n_warmup_steps


def _plateau(optimizer: Optimizer, settings: ScheduleSettings, *, n_warmup_steps: int) -> list[dict[str, Any]]:
    """Both schedulers multiply the learning rate that is there, and so can follow one another."""
    initial = [group["lr"] for group in optimizer.param_groups]
    configurations: list[dict[str, Any]] = []
    if n_warmup_steps:
        warmup = LinearLR(optimizer, start_factor=1.0 / (n_warmup_steps + 1), total_iters=n_warmup_steps)
        configurations.append({"scheduler": warmup, "interval": "step"})
    if settings.decay < 1.0:
        plateau = ReduceLROnPlateau(
            optimizer,
            factor=settings.decay ** (1.0 / (N_PLATEAUS - 1)),
            patience=settings.patience_epochs - 1,
            threshold=_SMALLEST_IMPROVEMENT,
            min_lr=[rate * settings.decay for rate in initial],
            eps=0.0,
        )
        # While the learning rate still rises, no epoch counts as one without improvement.
        plateau.cooldown_counter = math.ceil(settings.warmup_epochs)
        configurations.append({"scheduler": plateau, "interval": "epoch", "monitor": settings.monitor})
    return configurations
