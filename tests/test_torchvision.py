"""What zeroin takes from torchvision works with the one that is installed, its operators compiled or only declared."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.vision


def test_networks_train() -> None:
    from torchvision.models import resnet18

    network = resnet18(weights=None, num_classes=3)
    network(torch.zeros(2, 3, 64, 64)).sum().backward()
    assert all(each.grad is not None for each in network.parameters())
