from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.mixup import Mixup

N_CLASSES = 4


def blend(n: int, *, alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images that hold their own index, blended, their labels, and the labels after that."""
    images = torch.arange(float(n)).reshape(n, 1, 1, 1).expand(n, 2, 3, 3)
    labels = torch.arange(n) % N_CLASSES
    torch.manual_seed(seed)
    return *Mixup(alpha=alpha, n_classes=N_CLASSES)(images, labels), labels


@settings(max_examples=30)
@given(n=st.integers(1, 40), alpha=st.floats(1e-4, 100.0), seed=st.integers(0, 1000))
def test_label_probabilities_sum_to_1_and_images_stay_in_range(n: int, alpha: float, seed: int) -> None:
    images, probabilities, _ = blend(n, alpha=alpha, seed=seed)
    assert images.shape == (n, 2, 3, 3)
    assert probabilities.shape == (n, N_CLASSES)
    assert probabilities.dtype == torch.float32
    assert probabilities.min().item() >= 0.0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(n))
    assert images.min().item() >= -1e-4 and images.max().item() <= n - 1 + 1e-4


def test_an_image_and_its_label_are_blended_in_the_same_shares() -> None:
    """One class an image, so that its probability tells its share in every other one."""
    n = 50
    torch.manual_seed(2)
    images, probabilities = Mixup(alpha=1.0, n_classes=n)(torch.eye(n).reshape(n, n, 1, 1), torch.arange(n))
    torch.testing.assert_close(images.flatten(1), probabilities)
    assert (probabilities > 0).sum(1).max().item() == 2
    own_shares = probabilities.diagonal()
    assert own_shares.std().item() > 0.2


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 30.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha: float) -> None:
    n = 20_000
    torch.manual_seed(0)
    pair = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(n // 2, 1, 1, 1)
    blended, _ = Mixup(alpha=alpha, n_classes=2)(pair, torch.arange(n) % 2)
    # A share of an image 1 in a blend with an image 0 is the blend itself; with its like it is not seen.
    variance = 1.0 / (4.0 * (2.0 * alpha + 1.0))
    # Half of the pairs are alike, with values 0 or 1.
    expected = 0.5 * 0.25 + 0.5 * variance
    assert blended.mean().item() == pytest.approx(0.5, abs=0.02)
    assert blended.var().item() == pytest.approx(expected, abs=0.01)


def test_a_tiny_alpha_leaves_images_and_labels_alone() -> None:
    images, probabilities, labels = blend(40, alpha=1e-4, seed=0)
    assert ((images - images.round()).abs() < 1e-4).float().mean().item() > 0.9
    assert (probabilities.max(1).values > 1.0 - 1e-4).float().mean().item() > 0.9
    assert 0.2 < (probabilities.argmax(1) == labels).float().mean().item() < 0.95


def test_the_global_seed_decides() -> None:
    first, again, other = (blend(20, alpha=0.5, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
def test_refuses_an_alpha_that_is_not_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match="`alpha` must be a number in"):
        Mixup(alpha=alpha, n_classes=2)
