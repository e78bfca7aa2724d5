"""Predict with dropout left on: the mean of several random passes says more than the pass without."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_modules.module_modes import modes_restored
from lightning_modules.training.batch_norm_statistics import BATCH_NORMALIZATIONS
from lightning_modules.training.loss import in_full

_INSTANCE_NORMALIZATIONS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@contextmanager
def dropout_on(module: nn.Module) -> Iterator[None]:
    """Put all of a module into train mode in the block, but for normalization that would measure the batch.

    So whatever is random in training is random in the block (dropout of every kind, also one of the user's own), while
    an image's logits do not depend on the others of its batch. What the module's own `train` keeps in eval mode (frozen
    layers) stays so. Each submodule's own mode is restored.
    """
    with modes_restored(module):
        module.train()
        for each in module.modules():
            if isinstance(each, BATCH_NORMALIZATIONS + _INSTANCE_NORMALIZATIONS):
                each.training = False
        yield


def monte_carlo_log_probabilities(module: nn.Module, images: Tensor, *, n_samples: int) -> Tensor:
    """Return the logarithm of the mean class probabilities ``(N, n_classes)`` over random passes.

    Args:
        module: From images to logits ``(N, n_classes)``. Its dropout draws from torch's global random generator.
        images: ``(N, C, H, W)``.
        n_samples: Passes, >= 1.

    Source:
        Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning"
        (arXiv 1506.02142), section 4, eq. 6: the predictive mean.
    """
    with dropout_on(module):
        passes = torch.stack([in_full(module(images)).log_softmax(dim=1) for _ in range(n_samples)])
    return passes.logsumexp(dim=0) - math.log(n_samples)
