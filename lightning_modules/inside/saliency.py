"""Which pixels an answer depends on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.module_modes import modes_restored


def saliency(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return how much the score of each image's class changes with each pixel, in evaluation mode.

    Args:
        module: Maps `images` to scores ``(N, n_classes)``; it is left in the mode that it was in, without gradients of
            its parameters.
        images: ``(N, C, H, W)`` on the module's device.
        labels: Class of each, ``(N,)``.

    Returns:
        The largest absolute derivative over the channels, ``(N, H, W)``, >= 0, in float32 on the CPU.

    Raises:
        ValueError: If the scores are no ``(N, n_classes)``.

    Source:
        Simonyan, Vedaldi and Zisserman 2014, "Deep Inside Convolutional Networks" (arXiv 1312.6034), section 3.
    """
    with modes_restored(module), torch.enable_grad():
        module.eval()
        inputs = images.detach().clone().requires_grad_()
        scores = module(inputs)
        if scores.ndim != 2 or len(scores) != len(images):
            raise ValueError(f"scores must have shape (N, n_classes), but got {tuple(scores.shape)}.")
        chosen = scores.gather(1, labels.long()[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, inputs)
    return gradients.abs().amax(dim=1).float().cpu()
