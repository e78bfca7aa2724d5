"""Transforms that are named in a study file: of training images alone, with draws for each image or for a batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from random_images import RandomImages
from torch import Tensor

from lightning_modules import DigitsDataModule, NumpyDataModule
from lightning_modules.arguments import ArgumentError, UnfitArgumentError

V2 = "torchvision.transforms.v2"
NOISE = {"class_path": f"{__name__}.Noise", "init_args": {"largest": 40}}


class Noise:
    """Adds one number of its own to each of what it is called with."""

    calls: ClassVar[list[tuple[tuple[int, ...], torch.dtype]]] = []

    def __init__(self, largest: int = 40) -> None:
        self.largest = largest

    def __call__(self, images: Tensor) -> Tensor:
        self.calls.append((tuple(images.shape), images.dtype))
        added = torch.randint(self.largest, ())
        return (images.int() + added).clamp(0, 255).to(images.dtype)


class Several:
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __call__(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part(images)
        return images


class Enlarging:
    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([images, images], dim=-1)


class Scaling:
    def __call__(self, images: Tensor) -> Tensor:
        return images.float() / 255.0


class Failing:
    def __call__(self, images: Tensor) -> Tensor:
        raise TypeError("no such images")


class Half:
    """A darker image, of any that are black at 0."""

    def __call__(self, images: Tensor) -> Tensor:
        assert images.min() >= 0.0 and images.max() <= 1.0
        return images / 2.0


def images_of(loader: Any) -> Tensor:
    torch.manual_seed(0)
    return torch.cat([images for images, _ in loader])


def first_batch(data: Any) -> Tensor:
    """Images of the first training batch, which are the same whatever is done to them."""
    torch.manual_seed(0)
    images: Tensor = next(iter(data.train_dataloader()))[0]
    return images


@pytest.mark.parametrize("draws", ["image", "batch"])
def test_only_training_images_are_changed_before_they_are_preprocessed(draws: str) -> None:
    Noise.calls.clear()
    given = RandomImages(batch_size=16, train_transform=NOISE, train_transform_draws=draws, preprocessing_scheme="none")
    plain = RandomImages(batch_size=16, preprocessing_scheme="none")
    for loader in ("train_eval_dataloader", "val_dataloader", "test_dataloader"):
        assert torch.equal(images_of(getattr(given, loader)()), images_of(getattr(plain, loader)()))
    assert not Noise.calls
    changed, same = first_batch(given), first_batch(plain)
    added = (changed - same).flatten(1)
    inner = (changed < 255).flatten(1)
    by_image = {float(row[kept].min()) for row, kept in zip(added, inner, strict=True)}
    assert (len(by_image) == 1) is (draws == "batch")
    shape = (3, 6, 5) if draws == "image" else (16, 3, 6, 5)
    assert set(Noise.calls) == {(shape, torch.uint8)}
    assert set(by_image) <= set(map(float, range(40)))


def test_images_that_are_not_of_8_bits_come_between_black_and_white() -> None:
    given = DigitsDataModule(train_transform=Half(), preprocessing_scheme="none")
    plain = DigitsDataModule(preprocessing_scheme="none")
    torch.testing.assert_close(2.0 * images_of(given.train_dataloader()), images_of(plain.train_dataloader()))


def test_parts_are_made_and_applied_in_their_order() -> None:
    several = {"class_path": f"{__name__}.Several", "init_args": {"parts": [NOISE, f"{__name__}.Noise"]}}
    with pytest.raises(UnfitArgumentError, match="'str' object is not callable"):  # in arguments a text is a text
        next(iter(RandomImages(train_transform=several).train_dataloader()))
    several["init_args"] = {"parts": [NOISE, NOISE]}
    in_one, in_list = RandomImages(train_transform=several), RandomImages(train_transform=[NOISE, NOISE])
    assert torch.equal(images_of(in_one.train_dataloader()), images_of(in_list.train_dataloader()))
    once = RandomImages(train_transform=NOISE)
    assert not torch.equal(images_of(in_one.train_dataloader()), images_of(once.train_dataloader()))


def test_streamed_images_are_changed_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=random.integers(0, 200, (40, 8, 8), dtype=np.uint8), labels=np.arange(40) % 2)
    loaders = [
        NumpyDataModule(directory=str(tmp_path), in_memory=in_memory, train_transform=NOISE).train_dataloader()
        for in_memory in (True, False)
    ]
    assert [loader.is_random for loader in loaders] == [True, True]
    assert torch.equal(*map(images_of, loaders))


@pytest.mark.parametrize("none", [None, "none", []])
def test_without_a_transform_nothing_is_drawn(none: Any) -> None:
    given, plain = RandomImages(train_transform=none), RandomImages()
    assert not given.is_random
    assert torch.equal(images_of(given.train_dataloader()), images_of(plain.train_dataloader()))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("Noise", "`train_transform` must be a class path, .* but got 'Noise'"),
        (3, "`train_transform` must be a class path, .* but got 3"),
        ({"class_path": f"{__name__}.Noise", "args": {}}, "`train_transform` must be a class path"),
        ({"class_path": f"{__name__}.Noise", "init_args": [1]}, r"`train_transform\.init_args` must map names"),
        ({"class_path": f"{__name__}.Noise", "init_args": {"most": 1}}, "cannot be made with {'most': 1}: .*most"),
        (f"{__name__}.Noisy", f"`train_transform` must name a class or function, but '{__name__}' has no 'Noisy'"),
        ("no_such_package.Noise", "`train_transform` 'no_such_package.Noise' cannot be imported"),
        ({"class_path": f"{__name__}.Several", "init_args": {"parts": [{"class_path": "no_such.A"}]}}, "no_such"),
    ],
)
def test_what_cannot_be_made_is_told_at_once(transform: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandomImages(train_transform=transform)


def test_draws_are_of_an_image_or_a_batch() -> None:
    with pytest.raises(ArgumentError, match=r"`train_transform_draws` must be one of .* but got 'images'\. Did you"):
        RandomImages(train_transform_draws="images")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Enlarging(), r"it made torch.uint8 of \(3, 6, 10\) of torch.uint8 of \(3, 6, 5\)"),
        (Scaling(), r"it made torch.float32 of \(3, 6, 5\) of .*`preprocessing_scheme` does"),
        (lambda image: image.numpy(), "it made <class 'numpy.ndarray'>"),
        (Failing(), "Failing object at .* raised TypeError: no such images"),
    ],
)
def test_what_a_transform_does_wrong_names_the_argument(transform: Any, message: str) -> None:
    loader = RandomImages(train_transform=transform).train_dataloader()
    with pytest.raises(UnfitArgumentError, match=message) as caught:
        next(iter(loader))
    assert (caught.value.owner, caught.value.argument) == ("data", "train_transform")


def test_without_torchvision_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    message = rf"`train_transform` '{V2}.RandAugment' cannot be imported: .*torchvision.*pip install 'zeroin\[vision\]'"
    with pytest.raises(ArgumentError, match=message):
        RandomImages(train_transform=f"{V2}.RandAugment")


@pytest.mark.vision
@pytest.mark.parametrize("draws", ["image", "batch"])
@pytest.mark.parametrize(
    "transform",
    [
        f"{V2}.TrivialAugmentWide",
        {"class_path": f"{V2}.RandAugment", "init_args": {"num_ops": 2, "magnitude": 5}},
        [
            {"class_path": f"{V2}.RandomHorizontalFlip", "init_args": {"p": 0.5}},
            {"class_path": f"{V2}.ColorJitter", "init_args": {"brightness": 0.4, "hue": 0.1}},
            {"class_path": f"{V2}.RandomResizedCrop", "init_args": {"size": [6, 5], "antialias": True}},
        ],
        {
            "class_path": f"{V2}.RandomApply",
            "init_args": {
                "p": 0.5,
                "transforms": [{"class_path": f"{V2}.GaussianBlur", "init_args": {"kernel_size": 3}}],
            },
        },
    ],
)
def test_those_of_torchvision_change_training_images(transform: Any, draws: str) -> None:
    data = RandomImages(train_transform=transform, train_transform_draws=draws, batch_size=8)
    first, again = images_of(data.train_dataloader()), images_of(data.train_dataloader())
    assert torch.equal(first, again)  # by torch's seed
    assert not torch.equal(first, images_of(RandomImages(batch_size=8).train_dataloader()))
    assert first.dtype == torch.float32


@pytest.mark.vision
@pytest.mark.parametrize(("draws", "n_seen"), [("image", 2), ("batch", 1)])
def test_images_flip_one_by_one_or_together(draws: str, n_seen: int) -> None:
    data = RandomImages(train_transform=f"{V2}.RandomHorizontalFlip", train_transform_draws=draws)
    changed, same = first_batch(data), first_batch(RandomImages())
    is_same = [torch.equal(*pair) for pair in zip(changed, same, strict=True)]
    is_flipped = [torch.equal(one.flip(2), other) for one, other in zip(changed, same, strict=True)]
    assert all(one or other for one, other in zip(is_same, is_flipped, strict=True))
    assert len(set(is_flipped)) == n_seen


@pytest.mark.vision
def test_colours_of_images_that_are_no_integers_keep_their_range() -> None:
    jitter = {"class_path": f"{V2}.ColorJitter", "init_args": {"brightness": [0.5, 0.5]}}
    darker = first_batch(DigitsDataModule(train_transform=jitter, preprocessing_scheme="none"))
    torch.testing.assert_close(2.0 * darker, first_batch(DigitsDataModule(preprocessing_scheme="none")))
    assert darker.max() == 8.0


@pytest.mark.vision
def test_normalizing_or_wants_of_labels_are_told() -> None:
    for name, arguments in (
        ("Normalize", {"mean": [0.5], "std": [0.5]}),
        ("MixUp", {"num_classes": 3}),
        ("Resize", {"size": 4}),
    ):
        loader = RandomImages(
            train_transform={"class_path": f"{V2}.{name}", "init_args": arguments}, train_transform_draws="batch"
        ).train_dataloader()
        with pytest.raises(UnfitArgumentError, match="`train_transform` must make of raw images"):
            next(iter(loader))
