"""Modules on the digits, as a user would write them: five that are sound, and those that are broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images ``(1797, 1, 8, 8)`` in [0, 16] and labels ``(1797,)``."""
    found = load_digits()
    return torch.tensor(found.images, dtype=torch.float32)[:, None], torch.tensor(found.target)


class Digits(pl.LightningDataModule):
    """500 train, 200 val and 100 test images.

    Args:
        bytes_: Pixels from 0 to 255 instead of standardized ones.
        shuffled: Labels of another image each.
        leak: That many val images also stand in train.
        test_leak: That many test images also stand in train.
    """

    def __init__(self, bytes_: bool = False, shuffled: bool = False, leak: int = 0, test_leak: int = 0) -> None:
        super().__init__()
        images, labels = digits()
        images = images * (255.0 / 16.0) if bytes_ else (images - 4.9) / 6.0
        if shuffled:
            labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
        self._images, self._labels = images, labels
        self._train = [*range(500), *range(500, 500 + leak), *range(700, 700 + test_leak)]

    def train_dataloader(self) -> Any:
        return self._loader(self._train, shuffle=True)

    def val_dataloader(self) -> Any:
        return self._loader(range(500, 700))

    def test_dataloader(self) -> Any:
        return self._loader(range(700, 800))

    def _loader(self, indices: Sequence[int], *, shuffle: bool = False) -> Any:
        chosen = list(indices)
        return DataLoader(TensorDataset(self._images[chosen], self._labels[chosen]), 64, shuffle=shuffle)


class Classifier(pl.LightningModule):
    """A network, cross-entropy and SGD with momentum; what most of the others change one thing of.

    Args:
        network: From images ``(N, 1, 8, 8)`` to logits.
        learning_rate: Of SGD.
    """

    def __init__(self, network: nn.Module, learning_rate: float = 0.05) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(dim=1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        trained = [each for each in self.parameters() if each.requires_grad]
        return torch.optim.SGD(trained, lr=self.learning_rate, momentum=0.9)


def perceptron(*, n_outputs: int = 10, activation: Callable[[], nn.Module] = nn.ReLU, depth: int = 2) -> nn.Sequential:
    """Fully connected layers of 64 units, drawn as He et al. do."""
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(64, 64), activation())]
    network = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, n_outputs))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.normal_(network[-1].weight, std=0.05)  # type: ignore[arg-type]
    return network


# ---- sound -----------------------------------------------------------------------------------------------------------


class Plain(Classifier):
    """Two hidden layers."""

    def __init__(self, learning_rate: float = 0.05) -> None:
        super().__init__(perceptron(), learning_rate)


class TanhWithPenalty(Classifier):
    """Tanh, dropout, an L2 term in the loss, Adam."""

    def __init__(self, l2: float = 1e-4) -> None:
        network = perceptron(activation=nn.Tanh)
        network.insert(1, nn.Dropout(0.2))
        super().__init__(network, 3e-3)
        self.l2 = l2

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return {"loss": loss + self.l2 * sum(each.square().sum() for each in self.parameters() if each.ndim > 1)}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class NormalizesItself(Classifier):
    """Convolutions without normalization, on bytes that the module scales by itself."""

    def __init__(self) -> None:
        layers = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        super().__init__(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images - 78.0) / 95.0)


class Transferred(Classifier):
    """A backbone of given weights, frozen on purpose, and a head that is trained."""

    def __init__(self) -> None:
        network = perceptron()
        given = torch.Generator().manual_seed(7)
        for layer in list(network)[:-1]:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.17, generator=given)
            layer.requires_grad_(False)
        super().__init__(network, 0.02)


class SmoothedWithWarmUp(Classifier):
    """Batch normalization, label smoothing, AdamW, and a learning rate that begins near 0."""

    def __init__(self, learning_rate: float = 3e-3) -> None:
        network = perceptron(activation=nn.GELU)
        network.insert(2, nn.BatchNorm1d(64))
        super().__init__(network, learning_rate)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1], label_smoothing=0.1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate)
        n_steps = int(self.trainer.estimated_stepping_batches)
        warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / n_steps))
        return [optimizer], [{"scheduler": warm_up, "interval": "step"}]


# ---- broken on purpose -----------------------------------------------------------------------------------------------


class SoftmaxTwice(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


class Detached(Plain):
    """What hides the error that torch would raise: the loss is told to have a gradient."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]).detach(), batch[1]).requires_grad_()


class DetachedFeatures(Plain):
    def forward(self, images: Tensor) -> Tensor:
        features = self.network[:-1](images)  # type: ignore[index]
        logits: Tensor = self.network[-1](features.detach())  # type: ignore[index]
        return logits


class NeverCleared(Plain):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None: ...


class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.network[:-1].requires_grad_(False)  # type: ignore[index]


class ForgottenByItsOptimizer(Plain):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.network[-1].parameters(), lr=self.learning_rate)  # type: ignore[index]


class ScaledWeights(Classifier):
    def __init__(self, scale: float) -> None:
        super().__init__(perceptron(depth=3))
        with torch.no_grad():
            for layer in self.network.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight *= scale


class OtherOutputs(Classifier):
    def __init__(self, n_outputs: int) -> None:
        super().__init__(perceptron(n_outputs=n_outputs))


class Summed(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1], reduction="sum")


class ByHand(Plain):
    """Sound, but of a kind that the checks do not know: it optimizes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
        optimizer.step()
