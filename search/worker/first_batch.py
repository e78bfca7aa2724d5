"""What the one batch of a dry run shows of model and data, at next to no cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.first_loss import judged_first_loss
from lightning_modules.checks.pixel_values import judged_input_scale
from lightning_modules.checks.training_step import WEIGHTED, images_and_labels


class FirstBatch(Callback):
    """Watches the first training batch: its values, what the first layer gets, the loss, which weights have gradients.

    Nothing is run twice, and nothing is copied but a few numbers.

    Attributes:
        findings: What was found so far.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._handles: list[RemovableHandle] = []
        self._has_gradients: list[bool] = []
        self._has_input = False
        self._n_outputs = 0
        self._labels: Tensor | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        try:
            images, self._labels = images_and_labels(batch)
        except CannotBeCheckedError:
            return
        if images.is_floating_point():
            n_bad = int((~torch.isfinite(images.flatten(1)).all(dim=1)).sum())
            self._note_values(n_bad, len(images))
        for layer in pl_module.modules():
            if isinstance(layer, WEIGHTED):
                self._handles.append(layer.register_forward_hook(self._note_layer))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._remove_hooks()
        if pl_module.automatic_optimization and trainer.world_size == 1:  # a strategy may have shared gradients out
            self._has_gradients += [
                each.grad is not None for group in optimizer.param_groups for each in group["params"]
            ]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._remove_hooks()
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            return
        if self._has_gradients and not any(self._has_gradients):
            self.findings.append(
                Finding(
                    check="gradient flow",
                    verdict=Verdict.FAILED,
                    seen=f"none of the optimizer's {len(self._has_gradients)} parameter tensors has a gradient",
                    healthy="all of them",
                    advice="look for `detach`, `no_grad`, `.item()` or `.data` between the weights and the loss",
                )
            )
        value = float(loss.detach())
        if not math.isfinite(value):
            self.findings.append(
                Finding(
                    check="first loss",
                    verdict=Verdict.FAILED,
                    seen=f"the loss of the first batch is {value:g}",
                    healthy="a finite number",
                    advice="NaN in the data, a logarithm or division by 0, too large initial weights, 16-bit precision",
                )
            )
        elif self._labels is not None and self._n_outputs > int(self._labels.max()):
            finding = judged_first_loss(value, n_outputs=self._n_outputs)
            if finding.verdict is Verdict.FAILED:  # bad, but not surely wrong: no reason to stop a study
                self.findings.append(replace(finding, verdict=Verdict.WARNING))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._remove_hooks()

    def _note_values(self, n_bad: int, n_images: int) -> None:
        if n_bad:
            self.findings.append(
                Finding(
                    check="pixel values (train)",
                    verdict=Verdict.FAILED,
                    seen=f"{n_bad} of {n_images} images of the first batch have NaN or infinities",
                    healthy="none",
                    advice="a loader that divides by 0, or a damaged file",
                )
            )

    def _note_layer(self, layer: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not self._has_input and inputs and isinstance(inputs[0], Tensor):
            self._has_input = True
            finding = judged_input_scale(inputs[0].detach())
            if finding.verdict is not Verdict.OK:
                self.findings.append(finding)
        if isinstance(output, Tensor) and self._labels is not None:
            fits = output.ndim == 2 and len(output) == len(self._labels) and output.shape[1] >= 2
            self._n_outputs = output.shape[1] if fits else 0

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
