"""Dropout at test time: means of probabilities over random passes, with batch normalization as in evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from few_images import N_CLASSES, FewImages, trainer
from small_training import assembly
from torch import Tensor, nn

from lightning_modules import ConvNet
from lightning_modules.callbacks.epoch_checkpoint import save_weights
from lightning_modules.training.monte_carlo_dropout import dropout_on, monte_carlo_log_probabilities
from search.messages import TestAssignment
from search.worker.test_reading import read_test

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def make_net(**settings: Any) -> ConvNet:
    torch.manual_seed(3)
    net = ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[8], dropout=0.5, **settings)
    with torch.no_grad():
        net(torch.randn(50, 1, 6, 6) + 1.0)  # batch normalization has seen something
    return net.eval()


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def test_probabilities_are_the_mean_over_passes_with_other_units_dropped() -> None:
    net = make_net(mc_dropout_samples=5)
    torch.manual_seed(9)
    scores = net.predicted_scores(images())
    torch.manual_seed(9)
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    passes = [net(images()).softmax(dim=1) for _ in range(5)]
    assert not torch.equal(passes[0], passes[1])
    assert torch.allclose(scores.exp(), torch.stack(passes).mean(dim=0), atol=1e-6)
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(6))


def test_one_image_does_not_depend_on_the_others_of_its_batch() -> None:
    net = make_net()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # else the two draw different units
    alone, among = (monte_carlo_log_probabilities(net, images()[:n], n_samples=2) for n in (1, 6))
    assert torch.allclose(alone[0], among[0], atol=1e-6)


def test_modes_and_statistics_are_as_they_were() -> None:
    net = make_net()
    net.network.features.train()
    modes = [each.training for each in net.modules()]
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    assert buffers
    monte_carlo_log_probabilities(net, images(), n_samples=3)
    assert [each.training for each in net.modules()] == modes
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    with pytest.raises(ZeroDivisionError), dropout_on(net):
        raise ZeroDivisionError
    assert [each.training for each in net.modules()] == modes


def test_metrics_of_a_test_are_those_of_the_averaged_probabilities() -> None:
    net, data = make_net(mc_dropout_samples=4), FewImages()
    torch.manual_seed(5)
    (logged,) = trainer().test(net, data, verbose=False)
    torch.manual_seed(5)
    x, labels = next(iter(data.test_dataloader()))
    with torch.no_grad():
        probabilities = net.predicted_scores(x).exp()
    assert logged["test_loss"] == pytest.approx(-probabilities[range(len(x)), labels].log().mean().item(), rel=1e-5)
    assert logged["test_acc"] == pytest.approx((probabilities.argmax(dim=1) == labels).float().mean().item())
    (usual,) = trainer().test(make_net(), data, verbose=False)
    assert usual["test_loss"] != logged["test_loss"]


class Undecided(ConvNet):
    """Predicts all classes alike in tests, whatever its logits."""

    def predicted_scores(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), N_CLASSES)


def test_ensembles_of_the_test_split_average_what_their_members_predict(tmp_path: Path) -> None:
    args = {"in_channels": 1, "n_classes": N_CLASSES, "widths": [8]}
    save_weights(tmp_path / "weights.pt", make_net().state_dict())
    made = assembly(Undecided, FewImages, model_args=args)
    read = read_test(
        TestAssignment(assembly=made, trial_keys=("a", "b"), directories=(str(tmp_path),) * 2, ensemble=True)
    )
    assert read.error == ""
    losses = [each["test_loss"] for each in (*read.members, read.ensemble)]
    assert losses == pytest.approx([math.log(N_CLASSES)] * 3)


@pytest.mark.parametrize("n_samples", [0, 3])
def test_predictions_are_probabilities_and_validation_stays_without_dropout(n_samples: int) -> None:
    net, data = make_net(mc_dropout_samples=n_samples), FewImages()
    predicted = trainer().predict(net, dataloaders=data.test_dataloader())
    assert predicted is not None
    probabilities = torch.cat([each for each in predicted if isinstance(each, Tensor)])
    x, _ = next(iter(data.test_dataloader()))
    with torch.no_grad():
        usual = net(x).softmax(dim=1)
    assert probabilities.shape == usual.shape
    assert torch.allclose(probabilities, usual, atol=1e-6) == (n_samples == 0)
    results = [trainer().validate(net, data, verbose=False) for _ in range(2)]
    assert results[0] == results[1]


@pytest.mark.parametrize("value", [-1, 2.0, True])
def test_number_of_passes_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="`mc_dropout_samples` must be an integer >= 0"):
        make_net(mc_dropout_samples=value)
