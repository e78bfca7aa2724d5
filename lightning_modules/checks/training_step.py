"""One step of a module, outside any training: its own loss, its outputs, its optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_modules.callbacks.epoch_seeding import seed_all
from lightning_modules.checks.finding import CannotBeCheckedError
from lightning_modules.networks.drop_connect import DropConnectLinear

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose inputs and outputs are looked at."""

_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    DropConnectLinear,
)


def training_loss(module: LightningModule, batch: Any, *, seed: int = 0) -> Tensor:
    """Return the loss of the module's own ``training_step``, a scalar with its graph; what it logs is dropped.

    Args:
        module: In the mode (train or eval) that is wanted.
        batch: On its device.
        seed: What the step draws (dropout) is a function of it.

    Raises:
        CannotBeCheckedError: If the module optimizes manually, or the step gives no loss.
        Exception: Whatever the step raises.
    """
    if not module.automatic_optimization:
        raise CannotBeCheckedError("the module optimizes by itself (`automatic_optimization` is False)")
    seed_all(seed)
    takes_index = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    with _without_logging(module):
        output = module.training_step(batch, 0) if takes_index else module.training_step(batch)
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise CannotBeCheckedError("`training_step` returns no loss, a tensor of one number")
    return loss.reshape(())


def scores(module: LightningModule, images: Tensor) -> Tensor:
    """Return what ``forward`` makes of images ``(N, …)``: scores ``(N, K)``, K >= 2.

    Raises:
        CannotBeCheckedError: If it makes something else of them.
    """
    try:
        seed_all(0)
        found = module(images)
    except Exception as error:
        raise CannotBeCheckedError(f"`forward(images)` raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images) or found.shape[1] < 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise CannotBeCheckedError(f"`forward(images)` gives no scores (N, K) with K >= 2, but {shape}")
    return found


def images_and_labels(batch: Any) -> tuple[Tensor, Tensor]:
    """Take a batch apart into images ``(N, …)`` and integer labels ``(N,)``; of label probabilities, the largest.

    Raises:
        CannotBeCheckedError: If it is no pair of them.
    """
    if isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch):
        images, labels = batch
        if images.ndim >= 2 and len(images) == len(labels):
            if labels.ndim == 2 and labels.is_floating_point() and labels.shape[1] >= 2:
                return images, labels.argmax(dim=1)
            if labels.ndim == 1 and not labels.is_floating_point() and not labels.is_complex():
                return images, labels.long()
    raise CannotBeCheckedError("batches are no pairs of images (N, …) and integer labels (N,)")


def first_samples(batch: Any, n: int, *, start: int = 0) -> Any:
    """Return samples `start` to ``start + n`` of a batch: those of every tensor in it that has as many entries."""
    lengths: list[int] = []
    apply_to_collection(batch, Tensor, lambda tensor: lengths.append(len(tensor)) if tensor.ndim else None)
    size = lengths[0] if lengths else 0
    return apply_to_collection(
        batch, Tensor, lambda tensor: tensor[start : start + n] if tensor.ndim and len(tensor) == size else tensor
    )


def without_dropout(module: nn.Module) -> None:
    """Switch the module to train mode, but for its dropout layers, which let everything through."""
    module.train()
    for each in module.modules():
        if isinstance(each, _DROPOUTS):
            each.eval()


def own_optimizer(module: LightningModule) -> Optimizer:
    """Return the optimizer of ``configure_optimizers``, at its full learning rate whatever a warm-up begins with.

    Raises:
        CannotBeCheckedError: If there is not exactly one.
        Exception: Whatever the module raises.
    """
    found = list(_optimizers(module.configure_optimizers()))
    if len(found) != 1:
        raise CannotBeCheckedError(f"the module has {len(found)} optimizers, not one")
    for group in found[0].param_groups:
        group["lr"] = group.get("max_lr", group.get("initial_lr", group["lr"]))
    return found[0]


def learning_rate_of(optimizer: Optimizer) -> float:
    """Return the largest learning rate of its parameter groups."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give the groups learning rates of which the largest is `rate`, in the proportions that they have."""
    largest = learning_rate_of(optimizer)
    for group in optimizer.param_groups:
        share = float(group["lr"]) / largest if largest > 0.0 else 1.0
        group["lr"] = rate * share


def step(module: LightningModule, optimizer: Optimizer, batch: Any, *, seed: int) -> float:
    """Take one step and return the loss before it; NaN and infinities included."""

    def closure() -> float:
        optimizer.zero_grad()
        loss = training_loss(module, batch, seed=seed)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    return float(optimizer.step(closure))


def _optimizers(configured: Any) -> Iterator[Optimizer]:
    """Find the optimizers in any of the shapes that Lightning takes."""
    if isinstance(configured, Optimizer):
        yield configured
    elif isinstance(configured, Mapping):
        yield from _optimizers(configured.get("optimizer"))
    elif isinstance(configured, list | tuple):
        for each in configured:
            yield from _optimizers(each)


@contextmanager
def _without_logging(module: LightningModule) -> Iterator[None]:
    """Let ``self.log`` do nothing: outside a trainer's loop it would raise, or warn."""
    attributes = vars(module)
    attributes["log"] = _ignore
    try:
        yield
    finally:
        del attributes["log"]


def _ignore(*_: Any, **__: Any) -> None: ...
