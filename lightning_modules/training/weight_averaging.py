"""Which average of the weights is evaluated and kept, instead of the weights that are trained."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.arguments import check_choice, check_number

WEIGHT_AVERAGINGS: tuple[str, ...] = ("none", "ema", "swa")
"""Names of the averages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightAveragingSettings:
    """An average's name and hyperparameters; what an average does not know, it ignores.

    Attributes:
        name: ``none``, ``ema`` (exponential moving average, after every optimizer step) or ``swa`` (stochastic weight
            averaging: the plain mean of the weights at the ends of epochs).
        ema_decay: Share of the average that a step keeps, in ``[0, 1)``; less in the beginning, see `ema_decay_at`.
        swa_start: Share of the Trainer's ``max_epochs``, in ``[0, 1)``, after which the averaging begins; before, the
            weights themselves are evaluated.

    Source:
        ema: CS231n, "Neural Networks Part 3: Learning and Evaluation", sections "Per-parameter adaptive learning rate
        methods" and "Model Ensembles" ("running average of parameters", 0.995 in the lectures); Polyak and Juditsky
        1992, "Acceleration of Stochastic Approximation by Averaging". swa: Izmailov et al. 2018, "Averaging Weights
        Leads to Wider Optima and Better Generalization" (arXiv 1803.05407), algorithm 1; there it begins after 75 % of
        the training.
    """

    name: str = "none"
    ema_decay: float = 0.995
    swa_start: float = 0.75

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.name, name="weight_averaging", choices=WEIGHT_AVERAGINGS)
        check_number(self.ema_decay, name="ema_decay", low=0.0, high=1.0, includes_low=True)
        check_number(self.swa_start, name="swa_start", low=0.0, high=1.0, includes_low=True)


def ema_decay_at(n_averaged: int, *, decay: float) -> float:
    """Return the share of the average that the next step keeps: smaller as long as the average is young.

    With a constant 0.995, the first weights would make up more than half of it for 138 steps, which are several epochs
    of a small data set.

    Args:
        n_averaged: Steps that have been averaged, >= 0.
        decay: What it grows to, in ``[0, 1)``.

    Source:
        TensorFlow, `tf.train.ExponentialMovingAverage`, argument ``num_updates``.
    """
    return min(decay, (1 + n_averaged) / (10 + n_averaged))


def swa_averages(n_epochs_done: int, *, max_epochs: int, start: float) -> bool:
    """Say whether the weights at the end of an epoch are averaged.

    Args:
        n_epochs_done: The epoch, from 1 on.
        max_epochs: Of the whole training, >= 1.
        start: Share of it after which the averaging begins, in ``[0, 1)``.
    """
    # Divided, since 0.55 * 100 would be more than 55.
    return n_epochs_done / max_epochs >= start
