"""L-BFGS on the whole train set: torch's, with what a network trained by it needs besides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric.utilities.data import sized_len
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_modules.arguments import ArgumentError

_EVALUATIONS_PER_ITERATION = 5
"""At most, on average over a step; one or two are usual. torch's own default is 1.25, too few for a line search."""

_LEFT_WEIGHTS, _TRAINED = "left_weights", "trained"
"""What a step adds to the state: the weights that it left ``(n_parameters,)``, and which tensors had a gradient."""


class FullBatchLBFGS(torch.optim.LBFGS):
    """torch's L-BFGS with a strong Wolfe line search, for a loss that is one and the same function within a step.

    A step evaluates the loss and its gradient several times. So that all of them are of one function, random numbers
    (dropout) are the same in every evaluation of a step, and new ones in the next. Weight decay, which torch's does not
    know, is an L2 penalty that both the loss and the gradient that the search sees hold.

    What curvature is estimated from compares gradients along the way that the steps went. Where something else moved
    the weights since the last step (a bound on their norms), or other parameters have a gradient than then (a backbone
    joined in), it is forgotten, and the step begins as the very first one does.

    Source:
        Nocedal and Wright 2006, "Numerical Optimization", 2nd edition, algorithms 7.4 and 7.5 (directions) and 3.5 and
        3.6 (line search).
    """

    def __init__(self, groups: list[dict[str, Any]], *, learning_rate: float, max_iter: int, history_size: int) -> None:
        """Make one group of all parameters, as torch's wants them.

        Args:
            groups: Parameters, each group with its ``weight_decay`` or none.
            learning_rate: First step size that each line search tries, > 0; its very first is scaled by the gradient.
            max_iter: Iterations of a step, >= 1.
            history_size: Past iterations that the curvature is estimated from, >= 1.

        Raises:
            ValueError: If a group has another option of its own: one direction is searched for all parameters together.
        """
        for group in groups:
            if options := sorted(group.keys() - {"params", "weight_decay"}):
                raise ArgumentError(
                    f"`optimizer` 'lbfgs' must have the same options for all parameters, but a group of them has"
                    f" {', '.join(options)} of its own."
                )
        self._decays: list[tuple[Tensor, float]] = [
            (parameter, group["weight_decay"])
            for group in groups
            for parameter in group["params"]
            if group.get("weight_decay", 0.0) > 0.0
        ]
        super().__init__(
            [parameter for group in groups for parameter in group["params"]],
            lr=learning_rate,
            max_iter=max_iter,
            max_eval=_EVALUATIONS_PER_ITERATION * max_iter,
            history_size=history_size,
            line_search_fn="strong_wolfe",
        )
        # Before the hooks that move the weights.
        self.register_step_post_hook(lambda *_: self._remember_weights())

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # torch's takes floats and tensors
        """Take up to `max_iter` iterations.

        Args:
            closure: Sets the gradients to those of the loss and returns it, as many times as it is called.

        Returns:
            What the first evaluation gave: the loss before the step, weight decay included.
        """
        device = self.param_groups[0]["params"][0].device
        state = _random_state(device)
        last = math.nan
        is_first = True

        def evaluate() -> Tensor:
            nonlocal last, is_first
            _set_random_state(state, device)
            loss = self._decayed(closure())
            self._make_gradients_contiguous()
            if is_first:
                self._forget_other_weights()
                is_first = False
            last = float(loss)
            return loss

        first = super().step(evaluate)  # type: ignore[no-untyped-call]
        if not math.isfinite(last):
            # What is reported of a step is its last evaluation, which the search may have turned down.
            evaluate()
        return first

    def _forget_other_weights(self) -> None:
        """Begin anew unless the weights are those that the last step left, and the same of them are trained."""
        known = self._memory()
        left, trained = known.pop(_LEFT_WEIGHTS, None), known.pop(_TRAINED, None)
        if left is not None and not (torch.equal(left, self._flat_weights()) and trained == self._are_trained()):
            known.clear()
            known.update(n_iter=0, func_evals=0)

    def _remember_weights(self) -> None:
        # Once a step: if the process has had an optimizer of torch's class, hooks run after torch's own `step`, too.
        # In the state, since what moves the weights may do so before a checkpoint.
        known = self._memory()
        if _LEFT_WEIGHTS not in known:
            known.update({_LEFT_WEIGHTS: self._flat_weights(), _TRAINED: self._are_trained()})

    def _memory(self) -> dict[str, Any]:
        """Return where torch keeps what it knows of all parameters: the state of the first one."""
        memory: dict[str, Any] = self.state[self.param_groups[0]["params"][0]]
        return memory

    def _flat_weights(self) -> Tensor:
        return torch.cat([each.detach().flatten() for each in self.param_groups[0]["params"]])

    def _are_trained(self) -> list[bool]:
        return [each.grad is not None for each in self.param_groups[0]["params"]]

    @torch.no_grad()
    def _decayed(self, loss: Any) -> Tensor:
        """Return the loss with the penalty, and add the penalty's gradient to the gradients."""
        total = torch.as_tensor(loss).detach()
        for parameter, weight_decay in self._decays:
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=weight_decay)
            total = total + 0.5 * weight_decay * parameter.square().sum()
        return total

    def _make_gradients_contiguous(self) -> None:
        """Have torch's L-BFGS flatten them: those of convolutions in the channels-last layout it cannot."""
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.contiguous()


def check_full_batch(trainer: Trainer) -> None:
    """Require that each step of a training is taken on the whole train set, with its loss's own gradient.

    Args:
        trainer: Its train dataloader is set up.

    Raises:
        ValueError: If an epoch has several batches or nobody knows how many, if several processes train together, or if
            the Trainer accumulates or clips gradients.
    """
    begin = "`optimizer` 'lbfgs' takes each step on the whole train set at once, "
    n_batches = sized_len(trainer.train_dataloader)
    if n_batches is None:
        raise ArgumentError(f"{begin}but the train dataloader has no length.")
    if n_batches > 1:
        raise ArgumentError(
            f"{begin}but an epoch has {n_batches} batches: set `batch_size` of the data to at least the number of its"
            " train images."
        )
    if trainer.world_size > 1:
        raise ArgumentError(f"{begin}but {trainer.world_size} processes train together, each on its share.")
    if trainer.accumulate_grad_batches > 1:
        raise ArgumentError(
            f"{begin}but the Trainer's `accumulate_grad_batches` is {trainer.accumulate_grad_batches}; leave it out."
        )
    if trainer.gradient_clip_val:
        raise ArgumentError(
            "`optimizer` 'lbfgs' searches along the gradient of the loss, but the Trainer's `gradient_clip_val`"
            f" {trainer.gradient_clip_val!r} would change it; leave it out."
        )


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    cpu, cuda = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
