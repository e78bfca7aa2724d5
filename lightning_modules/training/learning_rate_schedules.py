"""How the learning rate falls over a training: pure functions of the progress made.

Every shape but `constant` starts at 1 and ends at `decay` exactly, so that one hyperparameter, the ratio of the final
to the initial learning rate, means the same for all of them. None rises, but `cyclic` where it begins again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from lightning_modules.arguments import check_choice, check_count, check_number

N_PLATEAUS = 4
"""Plateaus of the `step` shape, all of one length, each lower than the one before by the same factor."""


def _constant(progress: float, decay: float) -> float:
    return 1.0


def _exponential(progress: float, decay: float) -> float:
    return float(decay**progress)


def _step(progress: float, decay: float) -> float:
    n_drops = min(math.floor(progress * N_PLATEAUS), N_PLATEAUS - 1)
    return float(decay ** (n_drops / (N_PLATEAUS - 1)))


def _inverse_time(progress: float, decay: float) -> float:
    return 1.0 / (1.0 + progress * (1.0 / decay - 1.0))


def _cosine(progress: float, decay: float) -> float:
    return decay + (1.0 - decay) * 0.5 * (1.0 + math.cos(math.pi * progress))


_RESTART_TOLERANCE = 1e-12
"""Of a cycle: a step that begins one may come out a hair earlier by rounding."""

_SHAPES: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "constant": _constant,
        "exponential": _exponential,
        "step": _step,
        "inverse_time": _inverse_time,
        "cosine": _cosine,
        "cyclic": _cosine,  # of the progress within a cycle
    }
)

SHAPES: tuple[str, ...] = tuple(_SHAPES)
"""Names of the shapes."""


def learning_rate_ratio(progress: float, *, shape: str, decay: float, n_cycles: int = 1) -> float:
    """Return the learning rate at some point of a training, as a multiple of the initial one.

    Args:
        progress: Share of the training that is done, >= 0; from 1 on the ratio stays at its end value.
        shape: ``constant`` (1 throughout, `decay` has no effect), ``exponential``, ``step``, ``inverse_time``,
            ``cosine``, or ``cyclic`` (a cosine in each of `n_cycles` equal parts of the training, the first learning
            rate being taken up again at the start of each).
        decay: Final learning rate / initial one, in ``(0, 1]``; of ``cyclic``, in each cycle.
        n_cycles: Of ``cyclic``, >= 1.

    Returns:
        A number in ``[decay, 1]``; 1 at progress 0, and `decay` at progress 1 unless the shape is constant.

    Raises:
        ValueError: If an argument is out of its bounds or NaN.

    Source:
        exponential, step, inverse_time (there "1/t decay"): CS231n, "Neural Networks Part 3: Learning and Evaluation",
        section "Annealing the learning rate". cosine, cyclic: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient
        Descent with Warm Restarts" (arXiv 1608.03983), eq. 5, of cycles of equal length (there ``T_mult = 1``).
    """
    check_number(progress, name="progress", low=0.0, includes_low=True)
    check_choice(shape, name="shape", choices=SHAPES)
    check_number(decay, name="decay", low=0.0, high=1.0, includes_low=False, includes_high=True)
    check_count(n_cycles, name="n_cycles", at_least=1)
    if shape == "constant" or progress == 0.0:
        return 1.0
    # Rounding could put the formulas a hair outside the interval, or let them end beside `decay`.
    if progress >= 1.0:
        return decay
    if shape == "cyclic":
        progress = _progress_in_cycle(progress, n_cycles)
    return min(max(_SHAPES[shape](progress, decay), decay), 1.0)


def warmed_up_ratio(step: int, *, n_steps: float, n_warmup_steps: int, ratio: Callable[[float], float]) -> float:
    """Return the multiple of the learning rate of a step, of a training that begins with a linear warm-up.

    Args:
        step: Counted from 0.
        n_steps: Of the whole training, > `n_warmup_steps`; may be infinite, if `ratio` is constant.
        n_warmup_steps: >= 0. In equal steps the learning rate rises to `ratio` at 0, which the first step after them
            has; none is trained with a learning rate of 0.
        ratio: The multiple by the share that is done of what comes after the warm-up.

    Source:
        Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour" (arXiv 1706.02677), section 2.2,
        "Gradual warmup".
    """
    if step < n_warmup_steps:
        return (step + 1) / (n_warmup_steps + 1) * ratio(0.0)
    return ratio((step - n_warmup_steps) / (n_steps - n_warmup_steps))


def _progress_in_cycle(progress: float, n_cycles: int) -> float:
    done = progress * n_cycles
    cycle = min(math.floor(done + _RESTART_TOLERANCE), n_cycles - 1)
    return max(done - cycle, 0.0)
