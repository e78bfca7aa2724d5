"""Several sets of weights that predict together: where they come from, their average, and what it gains."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from few_images import N_CLASSES, FewImages, fit
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning import LightningModule
from scipy import stats
from torch import Tensor, nn

from lightning_modules import ConvNet, WeightSnapshots
from lightning_modules.callbacks.epoch_checkpoint import EpochCheckpoint
from lightning_modules.callbacks.epoch_seeding import EpochSeeding
from lightning_modules.ensembles.ensemble_gain import ensemble_gain
from lightning_modules.ensembles.member_predictions import MemberPredictions, predict_members
from search.worker.averaged_probabilities import AveragedProbabilities

Weights = dict[str, Tensor]


def make_net(**changed: Any) -> ConvNet:
    return ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[4], **changed)


def are_equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def some_batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 1, 6, 6, generator=generator), torch.arange(n) % N_CLASSES) for n in (4, 3)]


def test_members_predict_in_eval_mode_and_the_module_is_as_it_was() -> None:
    net, others = make_net(), [make_net() for _ in range(3)]
    net.network.classifier.eval()
    own = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [each.training for each in net.modules()]
    predictions = predict_members(net, (each.state_dict() for each in others), some_batches())
    images, labels = (torch.cat(each) for each in zip(*some_batches(), strict=True))
    assert torch.equal(predictions.labels, labels)
    for each, probabilities in zip(others, predictions.probabilities, strict=True):
        assert torch.allclose(probabilities, each.eval()(images).double().softmax(dim=1), atol=1e-6)
    assert torch.allclose(predictions.averaged(), sum(predictions.probabilities) / 3)
    assert are_equal(net.state_dict(), own)
    assert [each.training for each in net.modules()] == modes


def test_members_with_dropout_at_test_time_predict_with_it() -> None:
    certain, random = make_net(dropout=0.5), make_net(dropout=0.5, mc_dropout_samples=2)
    weights = certain.state_dict()
    usual, first, second = (
        predict_members(net, [weights], some_batches()).probabilities for net in (certain, random, random)
    )
    assert not torch.allclose(usual, first)
    assert not torch.allclose(first, second)


def test_any_network_can_be_an_ensemble() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, N_CLASSES))
    assert predict_members(module, [module.state_dict()], some_batches()).probabilities.shape == (1, 7, N_CLASSES)


def test_scores_are_the_accuracy_and_the_loss_of_the_averaged_probabilities() -> None:
    probabilities = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.4, 0.6]]], dtype=torch.float64)
    predictions = MemberPredictions(probabilities=probabilities, labels=torch.tensor([0, 0]))
    assert [each.acc for each in predictions.member_scores()] == [0.5, 0.0]
    ensemble = predictions.ensemble_scores()
    assert ensemble.acc == 0.5
    assert ensemble.loss == pytest.approx(-(math.log(0.6) + math.log(0.3)) / 2)


@settings(max_examples=30)
@given(n_members=st.integers(1, 5), seed=st.integers(0, 1000))
def test_loss_of_the_ensemble_is_at_most_the_mean_of_its_members(n_members: int, seed: int) -> None:
    logits = torch.randn(n_members, 6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    predictions = MemberPredictions(probabilities=logits.softmax(dim=2), labels=torch.arange(6) % 4)
    losses = [each.loss for each in predictions.member_scores()]
    assert predictions.ensemble_scores().loss <= sum(losses) / n_members + 1e-12


@pytest.mark.parametrize(("members", "batches", "named"), [([], some_batches(), "members"), (None, [], "batches")])
def test_nothing_to_predict_with_or_for_is_named(members: Any, batches: Any, named: str) -> None:
    net = make_net()
    with pytest.raises(ValueError, match=f"`{named}` must hold at least one"):
        predict_members(net, [net.state_dict()] if members is None else members, batches)


class Watcher(pl.Callback):
    """The module's state after each step and each epoch, from 1 on."""

    def __init__(self) -> None:
        self.steps: dict[int, Weights] = {}
        self.epochs: dict[int, Weights] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.steps[trainer.global_step] = self._copied(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs[trainer.current_epoch + 1] = self._copied(pl_module)

    @staticmethod
    def _copied(module: nn.Module) -> Weights:
        return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "point", "expected"),
    [
        (lambda: WeightSnapshots(epochs=[1, 3]), "epochs", [1, 3]),
        (lambda: WeightSnapshots(steps=[2, 5]), "steps", [2, 5]),
        (lambda: WeightSnapshots(last_n_epochs=2), "epochs", [3, 4]),
        (lambda: WeightSnapshots(last_n_epochs=9), "epochs", [1, 2, 3, 4]),
    ],
)
def test_snapshots_are_the_weights_of_their_time(
    make: Callable[[], WeightSnapshots], point: str, expected: list[int]
) -> None:
    snapshots, watcher = make(), Watcher()
    net = make_net()
    fit(net, snapshots, watcher, max_epochs=4)
    assert list(snapshots.members) == expected
    assert all(are_equal(weights, getattr(watcher, point)[at]) for at, weights in snapshots.members.items())
    predictions = predict_members(net, snapshots.members.values(), FewImages().val_dataloader())
    assert predictions.probabilities.shape[0] == len(expected)


def test_snapshots_go_with_the_checkpoint(tmp_path: Path) -> None:
    def trained(directory: Path, n_epochs: int, **resumed: Any) -> WeightSnapshots:
        directory.mkdir(exist_ok=True)
        snapshots = WeightSnapshots(last_n_epochs=2)
        torch.manual_seed(1)
        made = pl.Trainer(
            accelerator="cpu",
            max_epochs=n_epochs,
            callbacks=[EpochSeeding(0), snapshots, EpochCheckpoint(directory)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        made.fit(make_net(lr_schedule="constant"), FewImages(), **resumed)
        return snapshots

    whole = trained(tmp_path / "whole", 3)
    trained(tmp_path / "parts", 2)
    resumed = trained(tmp_path / "parts", 3, ckpt_path=tmp_path / "parts" / "last.ckpt", weights_only=True)
    assert list(resumed.members) == list(whole.members) == [2, 3]
    assert all(are_equal(resumed.members[epoch], whole.members[epoch]) for epoch in (2, 3))


@pytest.mark.parametrize("given", [{}, {"epochs": [1], "last_n_epochs": 2}, {"steps": [0]}, {"last_n_epochs": 0}])
def test_snapshots_of_no_time_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`epochs`, `steps`, `last_n_epochs` and `cycle|must be an integer >= 1"):
        WeightSnapshots(**given)


SCORES = st.floats(0.0, 1.0)


@settings(max_examples=50)
@given(st.lists(st.tuples(SCORES, st.lists(SCORES, min_size=1, max_size=3)), min_size=2, max_size=6), st.booleans())
def test_gain_is_over_the_best_member_with_the_t_interval_of_its_mean(
    seeds: list[tuple[float, list[float]]], maximize: bool
) -> None:
    ensembles, members = [each for each, _ in seeds], [each for _, each in seeds]
    gain = ensemble_gain(ensembles=ensembles, members=members, maximize=maximize)
    best = max if maximize else min
    expected = [(each - best(own)) * (1 if maximize else -1) for each, own in seeds]
    assert gain.by_seed == pytest.approx(expected)
    assert gain.mean == pytest.approx(sum(expected) / len(expected))
    spread = float(np.std(expected, ddof=1))
    if spread > 1e-9:
        interval = stats.t.interval(0.95, len(expected) - 1, gain.mean, spread / math.sqrt(len(expected)))
        assert (gain.low, gain.high) == pytest.approx(interval)
    assert gain.is_shown == (gain.low > 0.0)


def test_gain_is_told_with_its_spread_and_never_assumed() -> None:
    shown = ensemble_gain(ensembles=[0.92, 0.93, 0.92], members=[[0.90, 0.91], [0.92], [0.91]], maximize=True)
    assert shown.in_words("test_acc") == (
        "test_acc of an ensemble is on average 0.0100 better than that of its best member (95 % interval of the gain "
        "+0.0100 to +0.0100, standard deviation 0.0000 over 3 seeds)."
    )
    not_shown = ensemble_gain(ensembles=[0.50, 0.40], members=[[0.45], [0.42]], maximize=False)
    assert not_shown.mean == pytest.approx(-0.015)
    assert not_shown.in_words("test_loss").startswith("test_loss of an ensemble is on average 0.0150 worse than")
    assert not_shown.in_words("test_loss").endswith("No gain is shown.")
    single = ensemble_gain(ensembles=[0.9], members=[[0.8, 0.85]], maximize=True)
    assert not single.is_shown
    assert single.in_words("test_acc").endswith(
        "there is one ensemble: nothing is known of the gain's spread. Its members differ by a standard deviation of "
        "0.0354."
    )


@pytest.mark.parametrize(
    ("left_out", "lowest", "is_shown"),
    [((0.86, 0.88, 0.93), "+0.0100", True), ((0.86, 0.84, 0.93), "-0.0100", False)],
)
def test_gain_without_one_member_is_told_as_its_spread(
    left_out: tuple[float, ...], lowest: str, is_shown: bool
) -> None:
    gain = ensemble_gain(ensembles=[0.92], members=[[0.83, 0.8, 0.85]], maximize=True, left_out=left_out)
    best_of_the_others = (0.85, 0.85, 0.83)
    expected = [each - best for each, best in zip(left_out, best_of_the_others, strict=True)]
    assert gain.by_left_out == pytest.approx(expected)
    text = gain.in_words("test_acc")
    assert f"without one of its members, each in turn, the gain is {lowest} to +0.1000." in text
    assert ("No gain is shown." not in text) is is_shown


def test_scores_without_one_member_are_those_of_the_others_mean() -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(20, 5), torch.randint(3, (20,))) for _ in range(2)]
    members = [cast(LightningModule, nn.Linear(5, 3)) for _ in range(3)]

    def averaged(chosen: list[LightningModule]) -> AveragedProbabilities:
        scores = AveragedProbabilities([1] * len(chosen))
        for batch in batches:
            assert scores.add(batch, chosen) is None
        return scores

    expected = [averaged(members[:index] + members[index + 1 :]).together() for index in range(3)]
    assert [dict(each) for each in averaged(members).left_out()] == [pytest.approx(dict(each)) for each in expected]
    assert averaged(members[:2]).left_out() == ()
    assert AveragedProbabilities([2, 1]).left_out() == ()


def test_as_many_ensembles_without_a_member_as_members_are_needed() -> None:
    with pytest.raises(ValueError, match="`left_out` must have a score for each member of a single ensemble"):
        ensemble_gain(ensembles=[0.9], members=[[0.8, 0.85, 0.8]], maximize=True, left_out=[0.9, 0.9])


@pytest.mark.parametrize(
    ("ensembles", "members"), [([], []), ([0.5], []), ([0.5], [[]]), ([math.nan], [[0.5]]), ([0.5], [[math.inf]])]
)
def test_gain_of_nothing_is_refused(ensembles: list[float], members: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ensemble_gain(ensembles=ensembles, members=members, maximize=True)
