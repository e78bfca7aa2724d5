"""What several sets of weights of one network predict, and their average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.module_modes import modes_restored
from lightning_modules.training.loss import rightness


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """How good class probabilities are.

    Attributes:
        acc: Share of the images whose most probable class is their label.
        loss: Mean negative logarithm of the label's probability, in nats, >= 0; infinite if one has none.
    """

    acc: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPredictions:
    """Probabilities that each member gives the classes of the same images.

    Attributes:
        probabilities: ``(n_members, N, n_classes)`` float64, on the CPU, members in the order in which they were given.
        labels: ``(N,)`` int64, on the CPU.
    """

    probabilities: Tensor
    labels: Tensor

    def averaged(self) -> Tensor:
        """Return the ensemble's probabilities ``(N, n_classes)``: the members' mean.

        Source:
            CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Model Ensembles".
        """
        return self.probabilities.mean(dim=0)

    def member_scores(self) -> tuple[ClassScores, ...]:
        """Return how good each member is alone."""
        return tuple(class_scores(each, self.labels) for each in self.probabilities)

    def ensemble_scores(self) -> ClassScores:
        """Return how good the averaged probabilities are."""
        return class_scores(self.averaged(), self.labels)


def class_scores(probabilities: Tensor, labels: Tensor) -> ClassScores:
    """Measure class probabilities.

    Args:
        probabilities: ``(N, n_classes)``, N >= 1, rows sum to 1.
        labels: Classes ``(N,)`` int64.
    """
    of_label = probabilities.gather(1, labels[:, None])
    return ClassScores(acc=rightness(probabilities, labels).double().mean().item(), loss=-of_label.log().mean().item())


@torch.no_grad()
def predict_members(
    module: nn.Module, members: Iterable[Mapping[str, Tensor]], batches: Iterable[tuple[Tensor, Tensor]]
) -> MemberPredictions:
    """Let several sets of weights predict the same images, each in eval mode.

    Args:
        module: From images to logits. Of an `ImageClassifier`, each member predicts as it does in a test (with
            `mc_dropout_samples`, if it has them). Gets its own weights and modes back.
        members: State dicts of `module`, at least one; read one at a time.
        batches: Images ``(n, C, H, W)`` and labels ``(n,)`` on any device, the same in every iteration.

    Raises:
        ValueError: If there is no member, or no batch.
        RuntimeError: If a state dict is not one of `module`.
    """
    device = next(module.parameters()).device
    scores: Callable[[Tensor], Any] = module.predicted_scores if isinstance(module, ImageClassifier) else module
    own = {name: value.clone() for name, value in module.state_dict().items()}
    predictions, labels = [], torch.empty(0, dtype=torch.int64)
    with modes_restored(module):
        try:
            module.eval()
            for weights in members:
                module.load_state_dict(weights)
                pairs = [(scores(images.to(device)).double().softmax(dim=1).cpu(), y.cpu()) for images, y in batches]
                if not pairs:
                    raise ValueError("`batches` must hold at least one batch, but there is none.")
                predictions.append(torch.cat([probabilities for probabilities, _ in pairs]))
                labels = torch.cat([each for _, each in pairs])
        finally:
            module.load_state_dict(own)
    if not predictions:
        raise ValueError("`members` must hold at least one state dict, but there is none.")
    return MemberPredictions(probabilities=torch.stack(predictions), labels=labels)
