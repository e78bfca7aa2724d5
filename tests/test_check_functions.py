"""Each check by itself, where the right answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from preflight_modules import ByHand, Classifier, Plain, ScaledWeights, perceptron
from torch import Tensor, nn

from lightning_modules.checks.activations import activations, layer_activations
from lightning_modules.checks.class_balance import class_balance, number_of_classes
from lightning_modules.checks.finding import CannotBeCheckedError, Verdict
from lightning_modules.checks.first_loss import first_loss, judged_first_loss
from lightning_modules.checks.gradient_check import gradient_check
from lightning_modules.checks.image_duplicates import duplicates, image_hashes
from lightning_modules.checks.label_agreement import label_agreement
from lightning_modules.checks.learning_by_heart import learning_by_heart
from lightning_modules.checks.learning_rate_range import learning_rate_range, range_test
from lightning_modules.checks.pixel_values import pixel_values
from lightning_modules.checks.regularization import STRENGTH, regularization, regularization_arguments
from lightning_modules.checks.samples import Samples, read_samples
from lightning_modules.checks.training_step import first_samples, own_optimizer, training_loss
from lightning_modules.checks.update_ratio import update_ratio


def a_batch(n: int = 20, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 10]


class Quadratic(pl.LightningModule):
    """Loss ``curvature / 2 * |w|^2``, whatever the batch; gradient descent diverges beyond a rate of 2 / curvature."""

    def __init__(self, curvature: float, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.curvature, self.learning_rate = curvature, learning_rate

    def training_step(self, batch: Any) -> Tensor:
        return 0.5 * self.curvature * self.weight.square().sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)


@pytest.mark.parametrize("curvature", [1e-2, 3.0, 1e4])
def test_the_range_test_proposes_no_rate_at_which_gradient_descent_diverges(curvature: float) -> None:
    test = range_test(Quadratic(curvature), [None], lowest=1e-7, highest=1e3)
    low, high = test.proposal()
    assert low <= high / 9.9  # a decade, but for rounding
    # A step beyond the border may still be the lowest: it takes more than one to climb.
    assert 0.1 / curvature < high < 2.0 * 1.26**4 / curvature
    assert min(test.losses) < 1e-2 * test.losses[0]


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        ((1e-4, 1.0), Verdict.OK),
        ((1e-8, 1e-6), Verdict.FAILED),
        ((10.0, 100.0), Verdict.FAILED),
        ((1e-6, 1e-2), Verdict.WARNING),
        (None, Verdict.OK),
    ],
)
def test_a_declared_range_is_compared_with_the_proposal(declared: tuple[float, float] | None, verdict: Verdict) -> None:
    finding = learning_rate_range(Quadratic(10.0, learning_rate=0.1), [None], declared=declared)
    assert finding.verdict is verdict, finding
    assert (f"{finding.figures['low']:g} to {finding.figures['high']:g}" in finding.advice) is (verdict != "ok")


def test_a_rate_of_its_own_that_is_out_of_the_proposal_is_warned_of() -> None:
    assert learning_rate_range(Quadratic(10.0, learning_rate=1e-6), [None]).verdict is Verdict.WARNING


@pytest.mark.parametrize(("rate", "verdict"), [(1e-3, "ok"), (1e-8, "failed"), (1e-5, "warning")])
def test_the_update_ratio_is_that_of_gradient_descent(rate: float, verdict: str) -> None:
    finding = update_ratio(Quadratic(2.0, learning_rate=rate), [None])
    assert finding.figures["ratio"] == pytest.approx(2.0 * rate, rel=1e-2 if rate > 1e-6 else 1.0)
    assert finding.verdict == verdict
    searched = update_ratio(Quadratic(2.0, learning_rate=1e-4), [None], declared=(1e-5, 1e-3))
    assert searched.verdict is Verdict.OK
    assert searched.figures["learning_rate_for_1e-3"] == pytest.approx(5e-4, rel=1e-2)


def test_weights_that_are_lost_in_the_first_steps_fail() -> None:
    finding = update_ratio(Quadratic(1.0, learning_rate=1e30), [None])
    assert finding.verdict is Verdict.FAILED and "not finite" in finding.advice


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 0.9


class WronglyDerived(Plain):
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = WrongBackward.apply(self.network(images))  # type: ignore[no-untyped-call]
        return logits


class InFloat32(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float())


class Noisy(Plain):
    noise = 0

    def forward(self, images: Tensor) -> Tensor:
        self.noise += 1
        return super().forward(images) * self.noise


def test_gradients_are_checked_with_kinks_and_without() -> None:
    for activation in (nn.ReLU, nn.Tanh):
        finding = gradient_check(Classifier(perceptron(activation=activation)), a_batch(10))
        assert finding.verdict is Verdict.OK, finding
    finding = gradient_check(WronglyDerived(), a_batch(10))
    assert finding.verdict is Verdict.FAILED
    assert finding.figures["largest_relative_error"] > 0.05


def test_steps_across_kinks_are_not_taken_for_wrong_gradients() -> None:
    torch.manual_seed(0)
    # Units of a millionth: a step of a millionth of the biases crosses many a kink.
    assert gradient_check(ScaledWeights(1e-2), a_batch(10)).verdict is not Verdict.FAILED


@pytest.mark.parametrize(
    ("module", "words"), [(InFloat32, "float64"), (Noisy, "the same twice"), (ByHand, "by itself")]
)
def test_gradients_that_cannot_be_checked_say_why(module: type[Plain], words: str) -> None:
    with pytest.raises(CannotBeCheckedError, match=words):
        gradient_check(module(), a_batch(10))


class Penalized(Plain):
    def __init__(
        self, l1: float = 0.0, l2_out: float = 0.0, sign: float = 1.0, decay: bool = False, other_decay: float = 0.0
    ) -> None:
        super().__init__()
        self.strength, self.decay = sign * l1, l1 if decay else other_decay

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        penalty = 0.0 if self.decay else self.strength * sum(each.abs().sum() for each in self.parameters())
        return super().training_step(batch, batch_idx) + penalty

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=self.decay)


@pytest.mark.parametrize(
    ("options", "strength", "verdict", "words"),
    [
        ({}, STRENGTH, "ok", "changes the first loss"),
        ({"sign": -1.0}, STRENGTH, "failed", "changes the first loss"),
        ({"decay": True}, STRENGTH, "ok", "optimizer's weight_decay"),
        ({}, 0.0, "warning", "neither"),
        ({"other_decay": 0.01}, 0.0, "warning", "neither"),  # AdamW has that of its own, whatever the argument says
    ],
)
def test_regularization_is_in_the_loss_or_in_the_optimizer(
    options: dict[str, Any], strength: float, verdict: str, words: str
) -> None:
    torch.manual_seed(0)
    without = Penalized(**options)
    torch.manual_seed(0)
    strong = Penalized(l1=strength, **options)
    finding = regularization(without, strong, a_batch(), argument="l1")
    assert (finding.verdict.value, words in finding.seen) == (verdict, True), finding


def test_strengths_are_found_by_their_names() -> None:
    assert regularization_arguments(Penalized) == ["l1", "l2_out"]


def test_activations_tell_dead_and_saturated_units() -> None:
    dead = Classifier(perceptron())
    with torch.no_grad():
        dead.network[1].bias -= 100.0
    finding = activations(dead, a_batch())
    assert (finding.verdict, finding.figures["network.2.dead"]) == (Verdict.FAILED, 1.0)
    saturated = Classifier(perceptron(activation=nn.Tanh))
    with torch.no_grad():
        saturated.network[1].weight *= 100.0
    finding = activations(saturated, a_batch())
    assert finding.figures["network.2.saturated"] > 0.9 and "saturated" in finding.seen
    assert finding.verdict is Verdict.FAILED


def test_small_logits_are_a_good_start() -> None:
    module = Classifier(perceptron())
    with torch.no_grad():
        module.network[-1].weight *= 1e-6
    assert activations(module, a_batch()).verdict is Verdict.OK


class Functional(Plain):
    """Its ReLU is a function, which no hook sees."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.relu(self.network[1](images.flatten(1)) - 100.0)
        logits: Tensor = self.network[3](hidden)
        return logits


def test_units_are_dead_also_where_the_activation_is_a_function() -> None:
    last = layer_activations(Functional(), a_batch())[-1]
    assert (last.name, last.dead) == ("network.3", 1.0)


@given(st.integers(2, 1000), st.floats(0.0, 1e6))
def test_first_losses_near_ln_c_are_healthy_and_no_others(n: int, loss: float) -> None:
    expected = math.log(n)
    assert judged_first_loss(expected, n_outputs=n).verdict is Verdict.OK
    is_ok = judged_first_loss(loss, n_outputs=n).verdict is Verdict.OK
    assert is_ok is (0.7 * expected <= loss <= 2.0 * expected)
    assert judged_first_loss(math.nan, n_outputs=n).verdict is Verdict.FAILED


def test_values_that_are_no_numbers_blank_images_and_constant_pixels_are_seen() -> None:
    images, _ = a_batch()
    assert pixel_values(images, split="train").verdict is Verdict.OK
    bad = images.clone()
    bad[3, 0, 2, 2] = math.nan
    assert pixel_values(bad, split="train").verdict is Verdict.FAILED
    blank = images.clone()
    blank[5] = 0.5
    assert "one colour" in pixel_values(blank, split="train").advice
    framed = images.clone()
    framed[:, :, :5] = 0.0
    assert pixel_values(framed, split="train").figures["constant_share"] == 5 / 8
    assert "never change" in pixel_values(framed, split="train").advice
    assert pixel_values((images * 9).to(torch.uint8), split="train").verdict is Verdict.OK


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_sound_images_are_not_copied_as_numbers_of_another_type(dtype: torch.dtype) -> None:
    images = (torch.rand(1000, 3, 16, 16) * 9).to(dtype)
    with torch.profiler.profile(profile_memory=True) as profile:
        assert pixel_values(images, split="train").figures["n_not_finite"] == 0.0
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= images.numel()  # one byte a value, for what is finite


def test_classes_are_counted() -> None:
    assert class_balance(torch.tensor([0, 0, 0, 1])).verdict is Verdict.OK
    assert class_balance(torch.tensor([0] * 11 + [1])).verdict is Verdict.WARNING
    labels = torch.tensor([0, 1, 2])
    for n_outputs, are_all, verdict in (
        (3, True, "ok"),
        (4, True, "failed"),
        (4, False, "warning"),
        (2, True, "failed"),
    ):
        assert number_of_classes(labels, n_outputs=n_outputs, are_all=are_all).verdict == verdict


@given(st.integers(0, 19), st.sampled_from([torch.float32, torch.uint8, torch.bfloat16, torch.float64]))
def test_equal_images_are_found_whatever_their_type(n_shared: int, dtype: torch.dtype) -> None:
    images = (torch.arange(40).reshape(40, 1, 1, 1) + torch.zeros(1, 2, 2)).to(dtype)
    images[0] = -0.0 if dtype.is_floating_point else 0
    held_out = torch.cat([images[:n_shared], images[20:]]) + 0
    finding = duplicates(frozenset(image_hashes(images[:20])), image_hashes(held_out), split="val")
    assert finding.figures["n_duplicates"] == n_shared
    assert (finding.verdict is Verdict.OK) is (n_shared == 0)


def test_one_duplicate_among_many_is_a_warning() -> None:
    train = frozenset([b"1"])
    assert duplicates(train, [b"1", *[b"2"] * 99], split="val").verdict is Verdict.WARNING


def test_labels_that_nothing_shows_need_enough_images() -> None:
    images, labels = a_batch(200)
    assert label_agreement(images, labels).verdict is Verdict.WARNING
    assert label_agreement(images + labels[:, None, None, None], labels).verdict is Verdict.OK
    for n in (10, 49):
        with pytest.raises(CannotBeCheckedError, match=f"there are {n}"):
            label_agreement(images[:n], labels[:n])
    large = nn.functional.interpolate(images + labels[:, None, None, None], size=(64, 48))
    assert label_agreement(large, labels).verdict is Verdict.OK


def test_samples_end_where_memory_does_and_are_taken_class_by_class() -> None:
    batches = [a_batch(20, seed) for seed in range(4)]
    assert read_samples(batches).are_all
    some = read_samples(batches, most_bytes=20 * 64 * 4)
    assert (len(some.labels), some.are_all) == (40, False)
    uneven = Samples(images=torch.zeros(30, 2), labels=torch.tensor([0] * 20 + [1] * 9 + [2]), are_all=True)
    assert uneven.evenly(7)[1].bincount().tolist() == [3, 3, 1]
    with pytest.raises(CannotBeCheckedError, match="no pairs"):
        read_samples([{"x": torch.zeros(2)}])
    with pytest.raises(CannotBeCheckedError, match="no batch"):
        read_samples([])


class AlwaysRandom(Plain):
    """Its labels change with every step, so nothing can be learned."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1][torch.randperm(len(batch[1]))])


def test_what_cannot_be_learned_by_heart_is_not() -> None:
    assert learning_by_heart(Plain(), a_batch()).verdict is Verdict.OK
    assert learning_by_heart(AlwaysRandom(), a_batch(), most_steps=60).verdict is Verdict.FAILED


def test_one_of_several_learning_rates_is_enough_and_a_sound_module_is_told_from_them() -> None:
    finding = learning_by_heart(Plain(), a_batch(), rates=(1e-9, 0.05))
    assert (finding.verdict, "0.05 (attempt 2)" in finding.seen) == (Verdict.OK, True)
    finding = learning_by_heart(Plain(), a_batch(), rates=(1e-9,))
    assert (finding.verdict, "Adam" in finding.seen) == (Verdict.WARNING, True)


def test_time_that_is_up_is_no_verdict() -> None:
    assert "among 1 parameter tensors" in gradient_check(Plain(), a_batch(), most_seconds=0.0).seen
    with pytest.raises(CannotBeCheckedError, match="time was up"):
        learning_by_heart(Plain(), a_batch(), most_seconds=1e-9)
    with pytest.raises(CannotBeCheckedError, match="time was up"):
        range_test(Plain(), [a_batch()], most_seconds=1e-9)


class Scheduled(Plain):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        rising = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
        forms: dict[str, Any] = {
            "alone": optimizer,
            "dict": {"optimizer": optimizer, "lr_scheduler": rising},
            "lists": ([optimizer], [{"scheduler": rising}]),
            "none": None,
            "two": [optimizer, torch.optim.Adam(self.parameters())],
            "full batch": torch.optim.LBFGS(self.parameters(), lr=0.5),
        }
        return forms[self.kind]


@pytest.mark.parametrize("kind", ["alone", "dict", "lists"])
def test_the_optimizer_is_found_at_its_full_rate(kind: str) -> None:
    assert own_optimizer(Scheduled(kind)).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(("kind", "n"), [("none", 0), ("two", 2)])
def test_other_numbers_of_optimizers_cannot_be_checked(kind: str, n: int) -> None:
    with pytest.raises(CannotBeCheckedError, match=f"has {n} optimizers"):
        own_optimizer(Scheduled(kind))


def test_an_optimizer_that_evaluates_the_loss_itself_learns_by_heart_too() -> None:
    assert learning_by_heart(Scheduled("full batch"), a_batch(), most_steps=10).verdict is Verdict.OK


def test_a_module_that_is_not_a_classifier_is_told() -> None:
    with pytest.raises(CannotBeCheckedError, match="no pairs"):
        first_loss(Quadratic(1.0), {"x": torch.zeros(3)})
    with pytest.raises(CannotBeCheckedError, match="no scores"):
        first_loss(Classifier(nn.Flatten(0)), a_batch())


def test_a_step_is_the_same_for_a_seed_and_logs_nowhere() -> None:
    module = Classifier(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)))
    losses = [float(training_loss(module, a_batch(), seed=seed).detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert "log" not in vars(module)


def test_part_of_a_batch_is_taken_of_every_tensor_in_it() -> None:
    batch = {"x": torch.arange(6), "more": [torch.arange(12).reshape(6, 2), torch.tensor(3.0)], "name": "a"}
    part = first_samples(batch, 2, start=3)
    assert part["x"].tolist() == [3, 4]
    assert (part["more"][0].tolist(), float(part["more"][1]), part["name"]) == ([[6, 7], [8, 9]], 3.0, "a")
