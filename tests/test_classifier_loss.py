"""Losses and accuracies of labels that are classes, smoothed classes, or label probabilities as mixup makes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from few_images import N_CLASSES, FewImages, fit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_modules import ConvNet, TensorLoader
from lightning_modules.training.loss import LossSettings, cross_entropy, rightness

N_IMAGES, K = 7, 5


def some_logits(seed: int = 0) -> Tensor:
    return torch.randn(N_IMAGES, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_labels(seed: int = 0) -> Tensor:
    return torch.randint(K, (N_IMAGES,), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30)
@given(smoothing=st.floats(0.0, 0.99))
def test_smoothing_takes_its_share_from_the_label_for_all_classes(smoothing: float) -> None:
    logits, labels = some_logits(), some_labels()
    targets = (1 - smoothing) * one_hot(labels, K).double() + smoothing / K
    by_hand = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert cross_entropy(logits, labels, label_smoothing=smoothing).item() == pytest.approx(by_hand.item(), rel=1e-12)


@settings(max_examples=30)
@given(share=st.floats(0.0, 1.0), smoothing=st.sampled_from([0.0, 0.1]))
def test_loss_and_accuracy_of_mixed_labels_are_the_mixed_losses_and_accuracies(share: float, smoothing: float) -> None:
    logits, first, second = some_logits(), some_labels(1), some_labels(2)
    mixed = share * one_hot(first, K).double() + (1 - share) * one_hot(second, K).double()
    losses = [cross_entropy(logits, each, label_smoothing=smoothing).item() for each in (first, second)]
    expected = share * losses[0] + (1 - share) * losses[1]
    assert cross_entropy(logits, mixed, label_smoothing=smoothing).item() == pytest.approx(expected, rel=1e-12)
    right = share * rightness(logits, first).double() + (1 - share) * rightness(logits, second).double()
    assert torch.allclose(rightness(logits, mixed), right)


def test_networks_of_half_precision_take_label_probabilities() -> None:
    logits, labels = some_logits().bfloat16(), one_hot(some_labels(), K).float()
    assert cross_entropy(logits, labels).dtype == torch.float32
    assert torch.equal(rightness(logits, labels), rightness(logits, some_labels()).float())


def test_label_probabilities_may_lack_classes_that_have_no_image_yet() -> None:
    logits, labels = some_logits(), some_labels() % 3
    mixed = 0.7 * one_hot(labels, 3).double() + 0.3 * one_hot(labels.roll(1), 3).double()
    whole = torch.cat([mixed, torch.zeros(N_IMAGES, K - 3)], dim=1)
    assert torch.equal(
        cross_entropy(logits, mixed, label_smoothing=0.1), cross_entropy(logits, whole, label_smoothing=0.1)
    )
    assert torch.equal(rightness(logits, mixed), rightness(logits, whole))
    module = ConvNet(in_channels=1, n_classes=K, widths=[2])
    assert fit(module, data=FewImages(mixup_alpha=0.5)).callback_metrics["train_loss"] > 0.0


class Certain(FewImages):
    """Gives labels as probabilities, each of them certain."""

    def train_dataloader(self) -> Any:
        return _Certainly(super().train_dataloader())


class _Certainly:
    def __init__(self, loader: TensorLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Any:
        for images, labels in self.loader:
            yield images, one_hot(labels, N_CLASSES).float()


def trained(data: FewImages, **settings: Any) -> dict[str, float]:
    torch.manual_seed(1)
    net = ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[4], **settings)
    metrics = fit(net, data=data).callback_metrics
    return {name: value.item() for name, value in metrics.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_certain_label_probabilities_train_like_classes(smoothing: float) -> None:
    classes, certain = (trained(data, label_smoothing=smoothing) for data in (FewImages(), Certain()))
    assert certain == pytest.approx(classes, rel=1e-4)
    assert certain["train_acc"] == classes["train_acc"]


def test_smoothing_is_in_the_training_loss_and_in_no_validation_loss() -> None:
    # Nothing is learned, so that the two have the same weights.
    plain, smoothed = (trained(FewImages(), label_smoothing=each, learning_rate=1e-12) for each in (0.0, 0.5))
    assert abs(smoothed["train_loss"] - plain["train_loss"]) > 0.01
    assert smoothed["val_loss"] == pytest.approx(plain["val_loss"], abs=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), "0.1"])
def test_smoothing_out_of_its_bounds_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"`label_smoothing` must be a number in \[0, 1\)"):
        LossSettings(label_smoothing=value)
